"""Drives `verbatim serve` with the `openai` package and beside mlx-lm's server.

    python run.py [--model DIR] [--binary FILE] [--only PART] [--no-peer]
"""

import argparse
import json
import sys
from pathlib import Path

import openai_package  # noqa: F401 - registers its checks
import peer  # noqa: F401
import shutdown  # noqa: F401 - last: it ends our server
import servers as processes
import suite

ROOT = Path(__file__).resolve().parents[3]


class Servers:
    """What checks see."""

    def __init__(self, ours, theirs, model):
        self.ours, self.peer, self.model = ours, theirs, model
        config = json.loads((model / "config.json").read_text())
        generation = model / "generation_config.json"
        more = json.loads(generation.read_text()) if generation.is_file() else {}
        ends = [c.get("eos_token_id") for c in (config, more)]
        self.end_tokens = sorted({i for e in ends if e is not None for i in (e if isinstance(e, list) else [e])})
        self.long = config.get("max_position_embeddings", 0) > 100_000
        # Only a trained model knows what a tool is for.
        self.trained = (model / "chat_template.jinja").is_file()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "demo" / "model")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--only", default="", help="part of the checks' names")
    parser.add_argument("--no-peer", action="store_true", help="leave mlx-lm's server out")
    options = parser.parse_args()
    if not list(options.model.glob("model*.safetensors")):
        parser.error(f"{options.model} holds no weights; run `./just demo-model` or name another --model")
    if not options.binary.is_file():
        parser.error(f"{options.binary} is missing; run `cargo build --release`")
    with processes.scratch() as folder:
        running = [processes.start_ours(options.binary, options.model, folder)]
        if not options.no_peer:
            # Its penalties forget what a cached prompt held; without the cache they are what they say.
            running.append(processes.start_peer(options.model, folder, "--prompt-cache-size", "0"))
        try:
            for server in running:
                print(f"{server.name} ready after {server.wait():.2f} s", flush=True)
            theirs = running[1] if len(running) > 1 else None
            good = suite.run(Servers(running[0], theirs, options.model), options.only)
            if not good:
                print(running[0].tail())
        finally:
            for server in running:
                server.stop()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
