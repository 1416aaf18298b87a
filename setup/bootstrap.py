"""Lays out what the build needs under `.deps`: MLX's wheel, libclang's wheel and mlx-c's sources.

Standard library and pip only. Nothing is installed: wheels are unpacked, their hashes are pinned in
`setup/wheels/*.txt`, and every folder appears whole or not at all (unpacked aside, then renamed).

    bootstrap.py just          only the `just` executable
    bootstrap.py deps          everything a build needs
    bootstrap.py test          that, and the test runner
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPS = Path(os.environ.get("VERBATIM_DEPS", ROOT / ".deps"))
WHEELS = ROOT / "setup" / "wheels"
VARIANTS = ("cpu", "cuda12", "cuda13", "metal")


def say(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)


def fail(text):
    say(text)
    sys.exit(1)


def default_variant():
    return "metal" if platform.system() == "Darwin" else "cpu"


def requirement_digest(path):
    """Names the pinned state of a wheel: a folder stamped with another digest is stale."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_current(folder, digest):
    stamp = folder / "stamp"
    return stamp.is_file() and stamp.read_text() == digest


def replace_folder(staged, target, digest):
    (staged / "stamp").write_text(digest)
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, target)


def run(command, what, hint):
    """Runs a tool; on failure prints its own words and ours."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        fail(f"{command[0]} was not found, which {what} needs. {hint}")
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        fail(f"{what} failed. {hint}")
    return done.stdout


def fetch_wheel(name, target):
    requirement = WHEELS / f"{name}.txt"
    digest = requirement_digest(requirement)
    if is_current(target, digest):
        return
    package = requirement.read_text().split()[0]
    say(f"fetching {package}")
    DEPS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DEPS) as scratch:
        run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirement),
             "-d", scratch],
            f"downloading {package}",
            "It needs pip and PyPI (or a mirror that pip knows); on Debian: apt-get install python3-pip.",
        )
        wheel = next(Path(scratch).glob("*.whl"))
        staged = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(staged)
        replace_folder(staged, target, digest)


def setup_tool(name, executable):
    """Puts a pinned tool that a wheel carries at `.deps/bin`."""
    folder = DEPS / name
    fetch_wheel(name, folder)
    binary = next(folder.glob(f"*.data/scripts/{executable}"))
    binary.chmod(0o755)
    point(DEPS / "bin" / executable, binary)


def point(link, target):
    """Makes `link` a symbolic link to `target`, relative so that a checkout can be moved."""
    link.parent.mkdir(parents=True, exist_ok=True)
    wanted = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) == wanted:
        return
    staged = link.with_name(f"{link.name}.{os.getpid()}.tmp")
    staged.unlink(missing_ok=True)
    staged.symlink_to(wanted)
    os.replace(staged, link)


def setup_mlx():
    variant = os.environ.get("VERBATIM_MLX", default_variant())
    if variant not in VARIANTS:
        fail(f"VERBATIM_MLX={variant} is not known; choose one of {', '.join(VARIANTS)}.")
    folder = DEPS / "mlx" / variant
    fetch_wheel(variant, folder)
    point(DEPS / "mlx" / "active", folder)


def setup_libclang():
    """bindgen loads libclang; a system's own is used where LIBCLANG_PATH names it."""
    if os.environ.get("LIBCLANG_PATH"):
        return
    folder = DEPS / "libclang-wheel"
    fetch_wheel("libclang", folder)
    # Wheels put the library below a `*.data` folder on some platforms only.
    library = next(f for f in sorted(folder.rglob("libclang.*")) if f.suffix in (".so", ".dylib"))
    point(DEPS / "libclang", library.parent)


def setup_mlx_c():
    """mlx-c's sources, from the published mlx-sys crate that cargo fetches and verifies."""
    manifest = ROOT / "setup" / "mlx-c" / "Cargo.toml"
    target = DEPS / "mlx-c"
    digest = requirement_digest(manifest.parent / "Cargo.lock")
    if is_current(target, digest):
        return
    say("fetching mlx-c's sources")
    out = run(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", str(manifest)],
        "fetching mlx-c",
        "It needs cargo (rustup.rs) and crates.io.",
    )
    packages = json.loads(out[out.index('{"packages"'):])["packages"]
    crate = next(p for p in packages if p["name"] == "mlx-sys")
    source = Path(crate["manifest_path"]).parent / "src" / "mlx-c"
    with tempfile.TemporaryDirectory(dir=DEPS) as scratch:
        staged = Path(scratch) / "mlx-c"
        shutil.copytree(source / "mlx", staged / "mlx")
        shutil.copy(source / "LICENSE", staged / "LICENSE")
        replace_folder(staged, target, digest)


def check_tools():
    hints = {
        "cargo": "install Rust from rustup.rs",
        "cc": "on Debian: apt-get install gcc",
        "c++": "on Debian: apt-get install g++",
    }
    missing = [f"{tool} ({hint})" for tool, hint in hints.items() if shutil.which(tool) is None]
    if missing:
        fail("not found: " + "; ".join(missing))


def main():
    if sys.version_info < (3, 11):
        fail(f"Python 3.11 or newer is needed to fetch wheels, this is {platform.python_version()}.")
    goal = sys.argv[1] if len(sys.argv) > 1 else "deps"
    if goal == "just":
        setup_tool("just", "just")
        return
    if goal not in ("deps", "test"):
        fail(f"unknown goal {goal}; use just, deps or test")
    check_tools()
    setup_mlx()
    setup_libclang()
    setup_mlx_c()
    if goal == "test":
        setup_tool("nextest", "cargo-nextest")


if __name__ == "__main__":
    main()
