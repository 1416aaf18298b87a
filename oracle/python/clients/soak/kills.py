"""Kills `verbatim` at random moments and looks whether what is left starts clean.

    python kills.py [--times N] [--seed N]

The kills hit, in turn, a server that mounts adapters, a fetch from a hub, and a server that writes its prompt cache to
disk. After each, the same command has to work, and to answer as before.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(HERE.parent))

import adapters  # noqa: E402
import hub  # noqa: E402
import lines  # noqa: E402
import protocols  # noqa: E402
import servers  # noqa: E402

MODEL = ROOT / "demo" / "model"
_TALK = "Tell me about the weather in Paris, please. " * 30


def _serve(binary, folder, *extra):
    server = servers.start_ours(binary, MODEL, folder, *extra)
    server.wait()
    return server


def _said(port, question=_TALK, selection=None):
    path, body = protocols.chat(question, 16, selection)
    return protocols.text(path, asyncio.run(lines.stream(port, path, body)))


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def _in_background(work):
    def run():
        try:
            work()
        except Exception:  # noqa: BLE001 - the server dies under it
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def registration(options, folder, own):
    """Killed while adapters are mounted."""
    extra = ["--adapter-root", str(folder / "adapters")]
    server = _serve(options.binary, folder, *extra)

    def swap():
        while True:
            asyncio.run(lines.ask(server.port, "POST", "/v1/adapters", {"name": "guest", "path": "first"}))
            asyncio.run(lines.ask(server.port, "DELETE", "/v1/adapters/guest"))

    _in_background(swap)
    time.sleep(own.uniform(0.0, 0.5))
    _kill(server.process)
    again = _serve(options.binary, folder, *extra)
    try:
        status, _ = asyncio.run(lines.ask(again.port, "POST", "/v1/adapters", {"name": "guest", "path": "first"}))
        return _said(again.port, selection="guest") if status in (200, 201) else f"mounting: {status}"
    finally:
        again.stop()


def caching(options, folder, own):
    """Killed while states of prompts are written."""
    cache = folder / "cache"
    # Room for a few states only, so that files go as well.
    extra = ["--prompt-cache-dir", str(cache), "--prompt-cache-disk-bytes", "20MB"]
    server = _serve(options.binary, folder, *extra)

    def talk():
        while True:
            _said(server.port, f"{own.random()} {_TALK}")

    _said(server.port)
    _in_background(talk)
    time.sleep(own.uniform(0.0, 1.0))
    _kill(server.process)
    again = _serve(options.binary, folder, *extra)
    try:
        _, health = asyncio.run(lines.ask(again.port, "GET", "/health"))
        disk = health["prompt_cache"]["disk"]
        files = list(cache.glob("prompt-*"))
        if len(files) != disk["entries"] + len(list(cache.glob("prompt-cache.lock"))) or any(f.suffix == ".tmp" for f in files):
            return f"{[f.name for f in files]} for {disk}"
        if disk["bytes"] > disk["cap_bytes"] or disk["rejected"]:
            return f"{disk}"
        return _said(again.port)
    finally:
        again.stop()


def fetch(options, folder, own):
    """Killed while a model is fetched."""
    with hub.serving(MODEL) as address:
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(folder / f"hub-{own.random()}")}
        command = [options.binary, "get", "org/model"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(own.uniform(0.0, 0.3))
        _kill(process)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return f"get: {done.stderr}"
    snapshot = Path(done.stdout.strip())
    whole = all((snapshot / file.name).read_bytes() == file.read_bytes() for file in MODEL.glob("*.json"))
    return (snapshot / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes() and whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    options = parser.parse_args()
    own, kinds, failed = random.Random(options.seed), [registration, fetch, caching], 0
    with servers.scratch() as folder:
        adapters.make(MODEL, folder / "adapters", "first", 1)
        server = _serve(options.binary, folder, "--adapter-root", str(folder / "adapters"))
        asyncio.run(lines.ask(server.port, "POST", "/v1/adapters", {"name": "guest", "path": "first"}))
        expected = {registration: _said(server.port, selection="guest"), fetch: True, caching: _said(server.port)}
        server.stop()
        for number in range(options.times):
            kind = kinds[number % len(kinds)]
            found = kind(options, folder, own)
            good = found == expected[kind]
            failed += not good
            print(f"{number + 1}/{options.times} {kind.__name__}: {'clean' if good else f'{found!r} instead of {expected[kind]!r}'}", flush=True)
    print(f"{options.times - failed} clean, {failed} not", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
