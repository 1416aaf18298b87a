"""Makes `.venv`, the reference's Python environment, from the hash-locked requirements.

Standard library only. A current environment is recognized by its stamp and left alone; the check that
the environment's libmlx is the engine's own, byte for byte, runs every time.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("VERBATIM_VENV", ROOT / ".venv"))
LOCK = ROOT / "oracle" / "requirements.lock"
ENGINE_MLX = Path(os.environ.get("VERBATIM_DEPS", ROOT / ".deps")) / "mlx" / "active" / "mlx" / "lib"
PINNED = {
    "mlx": "0.32.2",
    "mlx-lm": "0.32.2",
    "mlx-optiq": "0.7.7",
    "transformers": "5.12.1",
    "tokenizers": "0.22.2",
}


def say(text):
    print(f"oracle-setup: {text}", file=sys.stderr, flush=True)


def fail(text):
    say(text)
    sys.exit(1)


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wanted_stamp():
    """Changes whenever the lock file or the interpreter does."""
    return f"{sha256(LOCK)} {sys.version.split()[0]} {Path(sys.base_prefix).resolve()}"


def site_packages():
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return VENV / "lib" / version / "site-packages"


def check_interpreter():
    """pyo3 embeds the interpreter, so its shared library must exist."""
    if sys.version_info < (3, 11):
        fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
    names = {sysconfig.get_config_var("LDLIBRARY"), sysconfig.get_config_var("INSTSONAME")}
    folders = {sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("PYTHONFRAMEWORKPREFIX"),
               sysconfig.get_config_var("LIBPL")}
    found = any(Path(folder, name).exists() for folder in folders if folder for name in names if name)
    if not (sysconfig.get_config_var("Py_ENABLE_SHARED") or sysconfig.get_config_var("PYTHONFRAMEWORK")) or not found:
        fail(f"{sys.executable} has no shared libpython to embed; on Debian: "
             "apt-get install libpython3-dev python3-venv (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared).")


def check_compiler():
    """mlx-lm's samplers go through mx.compile, which calls g++ and without it quietly computes otherwise."""
    if sys.platform.startswith("linux") and shutil.which("g++") is None:
        fail("g++ was not found; MLX compiles kernels with it. On Debian: apt-get install g++.")


def install():
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"creating {VENV.name}")
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        fail("Python's venv module cannot install pip; on Debian: apt-get install python3-venv.")
    say("installing the reference (mlx, mlx-lm, mlx-optiq and what they pin), a few minutes at most")
    command = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", LOCK]
    if subprocess.run(command).returncode != 0:
        fail("pip could not install oracle/requirements.lock; it needs PyPI (or a mirror that pip knows).")


def check_versions():
    installed = {d.metadata["Name"].lower(): d.version
                 for d in importlib.metadata.distributions(path=[str(site_packages())])}
    wrong = [f"{name} {installed.get(name, 'missing')} instead of {version}"
             for name, version in PINNED.items() if installed.get(name) != version]
    if wrong:
        fail(f"{VENV.name} holds {', '.join(wrong)}; remove {VENV.name} and run again.")


def check_libmlx():
    """Goldens mean something only if engine and reference run the very same kernels."""
    suffix = "dylib" if sys.platform == "darwin" else "so"
    ours = ENGINE_MLX / f"libmlx.{suffix}"
    theirs = site_packages() / "mlx" / "lib" / f"libmlx.{suffix}"
    for path, recipe in ((ours, "./just setup"), (theirs, f"rm -r {VENV.name}; ./just oracle-setup")):
        if not path.is_file():
            fail(f"{path} is missing; run: {recipe}")
    digests = sha256(ours), sha256(theirs)
    if digests[0] != digests[1]:
        fail(f"the engine's libmlx ({digests[0][:12]}…) is not the reference's ({digests[1][:12]}…): "
             "the lock file and setup/wheels must pin the same MLX, and VERBATIM_MLX must be the same backend.")
    return digests[0]


def main():
    if sys.prefix != sys.base_prefix:
        fail("run this with the system's Python, not inside a virtual environment.")
    check_interpreter()
    check_compiler()
    stamp = VENV / "verbatim-stamp"
    wanted = wanted_stamp()
    fresh = not (stamp.is_file() and stamp.read_text() == wanted)
    if fresh:
        install()
    check_versions()
    digest = check_libmlx()
    if fresh:
        stamp.write_text(wanted)
        say(f"ready: mlx {PINNED['mlx']}, mlx-lm {PINNED['mlx-lm']}, libmlx {digest[:12]}…")


if __name__ == "__main__":
    main()
