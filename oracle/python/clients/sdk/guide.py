"""Runs the examples of `README.md` and `docs/`, and holds that each works and prints what its page says.

    python guide.py [--binary FILE] [--only PART]

A page is a script. Its blocks run in order, in a folder of their own with `demo/model`, two adapters (`adapters/pirate`
and `adapters/formal`) and an imitation of a hub that has the demo model under every name:

- `sh` runs in bash with `verbatim` on the path. What it exports is there for the blocks that follow. `verbatim serve`
  at a line's beginning starts that server, in place of the one before it. A `curl` that gets an error fails.
- `python` and `ts` run with the official packages of OpenAI and Anthropic; types are checked before.
- `toml`, `yaml` and `ini` are parsed; with a name behind the language they are written to that file.
- `json` and `text` show what the block before them prints: see `examples.py`.
- `<!-- not run: REASON -->` in the line before a block leaves it out. It is counted and told; `./just` recipes in it
  have to exist.
"""

import argparse
import configparser
import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "soak")]

import adapters  # noqa: E402
import examples  # noqa: E402
import hub  # noqa: E402
import servers  # noqa: E402
import yaml  # noqa: E402
from environments import prepare_javascript, prepare_python  # noqa: E402

MODEL = ROOT / "demo" / "model"
_LIMIT_S = 120
_READY_S = 60.0
_ADDRESS = re.compile(r"(localhost|127\.0\.0\.1):8080\b")
_SERVE = re.compile(r"^(?:\w+=\S* )*verbatim serve\b")
_RUN = ("sh", "python", "ts")
_TYPE_CHECK = ("--strict", "--target", "es2023", "--module", "nodenext", "--types", "node", "--skipLibCheck")
_OUTPUT = ("json", "text")
# Variables of whoever runs this that would change what the examples mean.
_FOREIGN = re.compile(r"^(HF_|HUGGINGFACE_|XDG_CACHE|ANTHROPIC_|OPENAI_|VERBATIM_)")


def _ini(text):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(text)


_PARSERS = {"toml": tomllib.loads, "yaml": yaml.safe_load, "ini": _ini}


class Failed(Exception):
    """An example does not work."""


class Page:
    """The examples of one page, run in a folder of their own."""

    def __init__(self, folder, options, hub_address):
        self.folder, self.python, self.javascript = folder, options.python, options.javascript
        self.port, self.server, self.log = servers.free_port(), None, folder / "server.log"
        (folder / "bin").mkdir()
        (folder / "bin" / "verbatim").symlink_to(options.binary)
        # Copied, since an example may write beside the model.
        shutil.copytree(MODEL, folder / "demo" / "model")
        for seed, name in enumerate(("pirate", "formal")):
            adapters.make(MODEL, folder / "adapters", name, seed)
        (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
        kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        self.environment = {**kept, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CURL_HOME": str(folder),
                            "HF_HOME": str(folder / "hub"), "HF_ENDPOINT": hub_address, "PYTHONUNBUFFERED": "1"}

    def run(self, block, shown):
        """Runs an example; `shown` is the block of what it prints, if there is one."""
        output = {"sh": self.shell, "python": self.in_python, "ts": self.in_typescript}[block.language](block, examples.shows_error(shown))
        if self.server is not None and self.server.process.poll() is not None:
            self.end()
            raise Failed("the server has ended")
        if (error := examples.error(output)) and not examples.shows_error(shown):
            raise Failed(f"an error: {error}")
        if shown is not None and (problem := examples.difference(shown, output)):
            raise Failed(f"{problem}\n{output[-1500:]}")

    def shell(self, block, error):
        output = ""
        for command in _commands(block.code):
            output += self.serve(command) if _SERVE.match(command) else self.bash(command, error)
        return output

    def bash(self, code, error):
        variables = self.folder / ".environment"
        output = self.process(["bash", "-euo", "pipefail", "-c", f'{self.local(code)}\nenv -0 >"$0"', variables], error)
        if variables.exists():
            told = variables.read_bytes().decode().split("\0")
            self.environment = dict(line.split("=", 1) for line in told if line)
            variables.unlink()
        return output

    def in_python(self, block, error):
        return self.process([self.python, "-c", self.local(block.code)], error)

    def in_typescript(self, block, error):
        # Beside the packages, where both the compiler and node look for them.
        packages = self.javascript / "node_modules"
        with tempfile.TemporaryDirectory(dir=self.javascript) as folder:
            source = Path(folder) / "example.mts"
            source.write_text(self.local(block.code))
            self.process([packages / ".bin" / "tsc", *_TYPE_CHECK, "--typeRoots", packages / "@types", source], error=False)
            return self.process(["node", source.with_suffix(".mjs")], error)

    def process(self, command, error):
        """Standard output of a command, which may fail only where the page says so."""
        try:
            done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {_LIMIT_S} s") from None
        if done.returncode != 0 and not error:
            raise Failed(f"exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout.replace(f":{self.port}", ":8080")

    def local(self, code):
        """The code with this page's port: 8080 may be taken."""
        return _ADDRESS.sub(rf"\1:{self.port}", code)

    def serve(self, command):
        """Starts a server; what it says until it is ready."""
        self.end()
        own = re.sub(r"verbatim serve\b", f"exec verbatim serve --port {self.port}", command, count=1)
        self.server = servers.Server("verbatim", ["bash", "-c", own], self.port, self.log, self.environment, cwd=self.folder)
        try:
            self.server.wait(limit=_READY_S)
        except RuntimeError as error:
            self.server.stop()
            self.server = None
            raise Failed(str(error)) from None
        return self.log.read_text(errors="replace").replace(f":{self.port}", ":8080")

    def configure(self, block):
        """Parses a configuration file, and keeps it where it has a name."""
        try:
            _PARSERS[block.language](block.code)
        except Exception as error:  # noqa: BLE001 - each parser has its own
            raise Failed(f"no {block.language}: {error}") from None
        if block.file:
            (self.folder / block.file).write_text(self.local(block.code))

    def end(self):
        if self.server is not None:
            server, self.server = self.server, None
            if (code := server.stop()) != 0:
                raise Failed(f"the server ended with {code}:\n{server.tail()}")


def _commands(code):
    """A block's servers, each for itself, and what stands between them."""
    commands, between = [], []
    for command in re.findall(r"(?:[^\n]*\\\n)*[^\n]*\n", code):
        if _SERVE.match(command):
            commands += ["".join(between)] * bool(between) + [command.rstrip("\n")]
            between = []
        elif command.strip():
            between.append(command)
    return commands + ["".join(between)] * bool(between)


class Guide:
    """The pages, and the count of what became of their blocks."""

    def __init__(self, options):
        self.options, self.counts = options, Counter()
        listed = subprocess.run([ROOT / "just", "--summary"], capture_output=True, text=True, check=True)
        self.recipes = set(listed.stdout.split())

    def note(self, word, name, why=""):
        self.counts[word] += 1
        print(f"{word:7} {name}{': ' if why else ''}{why}", flush=True)

    def attempt(self, name, work, *arguments):
        try:
            work(*arguments)
        except Failed as failed:
            self.note("failed", name, failed)
        else:
            self.note("passed", name)

    def page(self, path, hub_address):
        blocks = examples.blocks(path)
        fences = sum(line.startswith("```") for line in path.read_text().splitlines())
        if fences != 2 * len(blocks):
            self.note("failed", path.name, f"{fences} lines with a fence, but {len(blocks)} blocks")
        with servers.scratch() as folder:
            page = Page(folder, self.options, hub_address)
            try:
                self.blocks(page, blocks)
            finally:
                self.attempt(f"{path.name}: the server's end", page.end)

    def blocks(self, page, blocks):
        for at, block in enumerate(blocks):
            after = blocks[at + 1] if at + 1 < len(blocks) else None
            shown = after if after is not None and after.language in _OUTPUT and after.reason is None else None
            if block.reason is not None:
                self.skip(block)
            elif block.language in _RUN:
                self.attempt(block.name, page.run, block, shown)
            elif block.language in _PARSERS:
                self.attempt(block.name, page.configure, block)
            elif not (block.language in _OUTPUT and at > 0 and blocks[at - 1].language in _RUN and blocks[at - 1].reason is None):
                self.note("failed", block.name, "neither run nor held against anything, and no reason is given")

    def skip(self, block):
        missing = set(re.findall(r"^\./just ([a-z][\w-]*)", block.code, re.MULTILINE)) - self.recipes
        if missing:
            self.note("failed", block.name, f"there is no recipe {sorted(missing)}")
        else:
            self.note("skipped", block.name, block.reason)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim", help="the command (default: the release build)")
    parser.add_argument("--only", default="", metavar="PART", help="part of the pages' names, such as `memory`")
    options = parser.parse_args()
    if not options.binary.is_file():
        parser.error(f"{options.binary} is missing; `./just guide` builds it")
    options.binary = options.binary.resolve()
    return options


def main():
    options, began = _arguments(), time.monotonic()
    if doctest.testmod(examples).failed:
        sys.exit("the judge of outputs is broken")
    options.python, options.javascript = prepare_python(), prepare_javascript()
    guide = Guide(options)
    with hub.serving(MODEL) as address:
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            if options.only in path.name:
                guide.page(path, address)
    counts = guide.counts
    print(f"{counts['passed']} passed, {counts['skipped']} skipped, {counts['failed']} failed; {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(0 if counts["passed"] and not counts["failed"] else 1)


if __name__ == "__main__":
    main()
