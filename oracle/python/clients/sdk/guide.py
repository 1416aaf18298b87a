"""Runs the examples of `docs/` and holds that each works.

    python guide.py [--binary FILE] [--only PART]

A page is a script: its blocks run in order, in a folder with `demo/model` and a few adapters in it. `sh` blocks run in
bash with `verbatim` on the path; one that begins with `verbatim serve` starts that server for the blocks that follow.
`python` and `js` blocks run with the official packages. Blocks in other languages are shown, not run.
"""

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "soak")]

import servers  # noqa: E402
from environments import prepare_javascript, prepare_python  # noqa: E402

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = "8080"
_LIMIT_S = 120


@dataclass
class Block:
    """One example."""

    page: str
    line: int
    language: str
    code: str

    @property
    def name(self):
        return f"{self.page}:{self.line} ({self.language})"


def blocks(page):
    text = page.read_text()
    return [Block(page.name, text[:m.start()].count("\n") + 1, m[1], m[2]) for m in _BLOCK.finditer(text)]


class Page:
    """The examples of one page, run in a folder of their own."""

    def __init__(self, folder, binary, python, javascript):
        self.folder, self.binary, self.python, self.javascript = folder, binary, python, javascript
        self.port, self.server, self.log = servers.free_port(), None, folder / "server.log"
        (folder / "bin").mkdir()
        (folder / "bin" / "verbatim").symlink_to(binary)
        (folder / "demo").symlink_to(ROOT / "demo")

    def run(self, block):
        """What went wrong, or nothing."""
        code = block.code.replace(f"localhost:{_PORT}", f"localhost:{self.port}").replace(f"127.0.0.1:{_PORT}", f"127.0.0.1:{self.port}")
        if block.language == "sh" and code.lstrip().startswith("verbatim serve"):
            return self.serve(code)
        if block.language == "sh":
            command = ["bash", "-euo", "pipefail", "-c", code]
        elif block.language == "python":
            command = [str(self.python), "-c", code]
        else:
            script = self.javascript / f"example-{block.line}.mjs"
            script.write_text(code)
            command = ["node", str(script)]
        try:
            done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"not done after {_LIMIT_S} s"
        if done.returncode == 0 and not re.search(r'"error": ?[{"]', done.stdout):
            return None
        return f"exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"

    def environment(self):
        return {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HF_HOME": str(self.folder / "hub")}

    def serve(self, code):
        self.end()
        command = code.strip().replace("\\\n", " ")
        if "\n" in command:
            return "a block that starts a server starts nothing else"
        self.server = servers.Server("verbatim", ["bash", "-c", f"exec {command} --port {self.port}"], self.port, self.log,
                                     self.environment(), cwd=self.folder)
        try:
            self.server.wait(limit=60.0)
        except RuntimeError as error:
            return str(error)
        return None

    def end(self):
        if self.server is not None:
            self.server.stop()
            self.server = None


def _adapters(folder):
    """Made by the reference's environment, which has the packages for it."""
    program = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import adapters\n" \
              "[adapters.make(Path(sys.argv[2]), Path(sys.argv[3]), n, i) for i, n in enumerate(['pirate', 'formal'])]"
    subprocess.run([ROOT / ".venv" / "bin" / "python", "-c", program, HERE.parent / "soak", ROOT / "demo" / "model", folder / "adapters"], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--only", default="", help="part of the pages' names")
    options = parser.parse_args()
    python, javascript, failed, passed = prepare_python(), prepare_javascript(), 0, 0
    for path in sorted((ROOT / "docs").glob("*.md")):
        if options.only not in path.name:
            continue
        with servers.scratch() as folder:
            _adapters(folder)
            page = Page(folder, options.binary.resolve(), python, javascript)
            try:
                for block in blocks(path):
                    if block.language not in ("sh", "python", "js"):
                        continue
                    problem = page.run(block)
                    failed += problem is not None
                    passed += problem is None
                    print(f"{'passed' if problem is None else 'failed'}  {block.name}{'' if problem is None else f': {problem}'}", flush=True)
            finally:
                page.end()
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(0 if passed and not failed else 1)


if __name__ == "__main__":
    main()
