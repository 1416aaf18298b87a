"""An environment for each language, below `target/sdk`: the reference's own is pinned to the reference."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[3] / "target" / "sdk"


def _current(stamp, source):
    wanted = hashlib.sha256(source.read_bytes()).hexdigest()
    return wanted, stamp.is_file() and stamp.read_text() == wanted


def prepare_python():
    """Its interpreter."""
    home, source = HOME / "python", HERE / "requirements.txt"
    wanted, current = _current(home / "stamp", source)
    if not current:
        print("sdk: installing the Python packages", file=sys.stderr, flush=True)
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", "--requirement", source], check=True)
        (home / "stamp").write_text(wanted)
    return home / "bin" / "python"


def prepare_javascript():
    """The folder with its packages."""
    home, source = HOME / "javascript", HERE / "package.json"
    wanted, current = _current(home / "stamp", source)
    if not current:
        print("sdk: installing the JavaScript packages", file=sys.stderr, flush=True)
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_bytes(source.read_bytes())
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"], cwd=home, check=True)
        (home / "stamp").write_text(wanted)
    return home
