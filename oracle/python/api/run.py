"""Draws requests from the server's own description and holds the answers against it (schemathesis).

    python3 run.py [--cases N] [--seconds S] [--seed N] [--model DIR] [--binary FILE]

Standard library only; schemathesis lives in an environment of its own, made from `requirements.lock`.
Fails on an answer 5xx, on one that the description does not allow, on a malformed request that is
taken, and when fewer than N cases were tried.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LOCK = HERE / "requirements.lock"
VENV = ROOT / ".cache" / "schemathesis"
# Valid bodies may still name a model, a response or an adapter that is not there.
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_headers_conformance", "response_schema_conformance", "unsupported_method"]

sys.path.insert(0, str(HERE.parent / "clients"))
import servers  # noqa: E402 - lies beside this folder


def fail(text):
    sys.exit(f"schemathesis: {text}")


def environment():
    """The environment's `schemathesis`, made anew when the lock file or the interpreter changed."""
    stamp, wanted = VENV / "stamp", f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version.split()[0]}"
    command = VENV / "bin" / "schemathesis"
    if stamp.is_file() and stamp.read_text() == wanted:
        return command
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True, symlinks=True)
    install = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", LOCK]
    if subprocess.run(install).returncode != 0:
        fail(f"pip could not install {LOCK.relative_to(ROOT)}")
    stamp.write_text(wanted)
    return command


def arguments(options, url, folder):
    command = ["run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--mode", "all",
               "--phases", "examples,coverage,fuzzing", "--max-examples", str(options.examples),
               "--seed", str(options.seed), "--continue-on-failure", "--request-timeout", "60",
               "--suppress-health-check", "all", "--warnings", "off", "--no-color",
               "--report", "ndjson", "--report-ndjson-path", str(folder / "events.ndjson")]
    if options.seconds:
        command += ["--max-time", str(options.seconds)]
    return command


def cases(output):
    """How many cases schemathesis says it tried."""
    found = re.findall(r"([\d,]+) generated", output)
    return int(found[-1].replace(",", "")) if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000, help="cases to try at least")
    parser.add_argument("--examples", type=int, default=30, help="drawn per operation")
    parser.add_argument("--seconds", type=int, default=0, help="stop after this long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "model")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    options = parser.parse_args()
    if not options.binary.is_file():
        parser.error(f"{options.binary} is missing; run ./just build")
    command = environment()
    with servers.scratch() as folder:
        (folder / "adapters").mkdir()
        server = servers.start_ours(options.binary, options.model, folder, "--max-tokens", "2",
                                    "--log-level", "warn", "--adapter-root", str(folder / "adapters"))
        try:
            server.wait()
            run = subprocess.run([command, *arguments(options, server.url, folder)], cwd=folder, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            print(run.stdout)
            tried, alive = cases(run.stdout), server.ready()
        finally:
            code = server.stop()
        print(json.dumps({"cases": tried, "server_alive": alive, "server_exit": code}))
        if run.returncode != 0:
            print(server.tail())
            fail("the answers are not as described")
        if tried < options.cases or not alive or code != 0:
            fail(f"{tried} of {options.cases} cases were tried")


if __name__ == "__main__":
    main()
