"""Runs fuzz targets one after another, each for a while, and tells what they did.

    run.py [TARGET …] [--seconds N]

What was found of interest stays in `.cache/fuzz/TARGET/corpus`, where the next run goes on from;
inputs that break a promise are in `fuzz/runner/artifacts/TARGET`.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNNER = "fuzz/runner"
CACHE = ROOT / ".cache" / "fuzz"
# The code is Rust without `unsafe` (the module over MLX excepted), so a sanitizer would find little
# for the time and memory that it takes.
BUILD = ["--fuzz-dir", RUNNER, "--sanitizer", "none"]
# An input may take this many seconds, and the process this much memory.
LIMITS = ["-timeout=60", "-rss_limit_mb=4096", "-max_len=65536"]


def environment():
    """cargo-fuzz's own flags take the place of those that tell executables where libmlx is."""
    name = "DYLD_LIBRARY_PATH" if platform.system() == "Darwin" else "LD_LIBRARY_PATH"
    return os.environ | {name: str(ROOT / ".deps/mlx/active/mlx/lib")}


def cargo_fuzz(*args, **kwargs):
    return subprocess.Popen(["cargo", "+nightly", "fuzz", *args], cwd=ROOT, env=environment(), **kwargs)


def inputs(*args):
    command = ["cargo", "run", "--quiet", "--bin", "fuzz-input", "--", *args]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def fuzz(target, seconds):
    """Runs one target. Returns its exit code, executions and edges covered."""
    folder = CACHE / target
    inputs("seeds", target, str(folder))
    (folder / "corpus").mkdir(exist_ok=True)
    process = cargo_fuzz(
        "run", *BUILD, target, str(folder / "corpus"), str(folder / "seeds"), "--",
        f"-max_total_time={seconds}", f"-dict={folder / 'dictionary'}", "-print_final_stats=1", *LIMITS,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    executions = covered = 0
    with open(folder / "log", "w") as log:
        for line in process.stdout:
            log.write(line)
            if found := re.search(r"\bcov: (\d+)", line):
                covered = int(found[1])
            if found := re.search(r"number_of_executed_units: (\d+)", line):
                executions = int(found[1])
    return process.wait(), executions, covered


def main():
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    args = parser.parse_args()
    known = inputs("list").split()
    if unknown := sorted(set(args.targets) - set(known)):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(known)}")
    broken = []
    for target in args.targets or known:
        code, executions, covered = fuzz(target, args.seconds)
        print(f"{target:14} {executions:>10} executions  {covered:>6} edges  "
              f"{'ok' if code == 0 else 'FAILED'}", flush=True)
        if code:
            broken.append(target)
    for target in broken:
        print(f"{target}: see .cache/fuzz/{target}/log; run what it wrote to {RUNNER}/artifacts/{target} with\n"
              f"  cargo run --bin fuzz-input -- run {target} FILE")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
