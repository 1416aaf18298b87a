"""Keeps many clients on `verbatim serve` at once and watches that nothing is lost, crossed or leaked.

    python soak.py [--minutes N] [--clients N] [--seed N] [--readme FILE]

Answers are greedy, so each has to equal the one that the same question got when the server was quiet. Clients use all
three protocols, leave at random, and ask for what does not fit; adapters come and go meanwhile.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "bench")]

import adapters  # noqa: E402
import lines  # noqa: E402
import protocols  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402

QUESTIONS = ["What is 2 plus 3?", "What is 9 minus 4?", "What is the capital of France?", "What is the capital of Italy?",
             "Who are you?", "Hello!", "What is 7 plus 8?", "How many days are in a week?"]
TOKENS = 48
# Which adapters a request may name; "guest" comes and goes.
SELECTIONS = [None, None, "first", "second", "first+second"]
_BUDGET = "600MB"


class Soak:
    """One run."""

    def __init__(self, options, server):
        self.options, self.server, self.port = options, server, server.port
        self.counts, self.problems = Counter(), []
        self.expected, self.memory = {}, []
        self.until = 0.0

    def problem(self, text):
        self.counts["problems"] += 1
        if len(self.problems) < 20:
            self.problems.append(text)
            print(f"problem: {text}", file=sys.stderr, flush=True)

    async def quiet_answers(self):
        for question in QUESTIONS:
            for selection in dict.fromkeys(SELECTIONS):
                path, body = protocols.chat(question, TOKENS, selection)
                self.expected[question, selection] = protocols.text(path, await lines.stream(self.port, path, body))
        different = len({tuple(self.expected[q, s] for q in QUESTIONS) for s in dict.fromkeys(SELECTIONS)})
        if different < 4:
            raise RuntimeError("the adapters change nothing: the run would prove nothing")

    async def client(self, number):
        own = random.Random(self.options.seed * 1_000 + number)
        while time.monotonic() < self.until:
            try:
                await self.one(own)
            except lines.Refused as refused:
                self.refused(refused)
                await asyncio.sleep(own.uniform(0.1, 1.0))
            except Exception as error:  # noqa: BLE001 - everything else is a finding
                self.problem(f"{type(error).__name__}: {error}")

    async def one(self, own):
        kind = own.random()
        question, selection = own.choice(QUESTIONS), own.choice(SELECTIONS)
        protocol = own.choice(protocols.ALL)
        if kind < 0.05:
            return await self.too_much(protocol, question)
        path, body = protocol(question, TOKENS, selection)
        if kind < 0.30:
            await lines.stream(self.port, path, body, leave_after=own.randrange(0, 12))
            self.counts["left"] += 1
            return None
        said = protocols.text(path, await lines.stream(self.port, path, body))
        self.counts["answered"] += 1
        if said != self.expected[question, selection]:
            self.problem(f"{path} {question!r} with {selection}: {said!r} instead of {self.expected[question, selection]!r}")
        return None

    async def too_much(self, protocol, question):
        # Anthropic's clients have to name a number: there only a prompt can be too long.
        words = 20_000 if protocol is protocols.messages else 200
        path, body = protocol(question + " word" * words, 1_000_000, None)
        status, reply = await lines.ask(self.port, "POST", path, body)
        self.counts["over budget, refused"] += 1
        if status not in (400, 413):
            self.problem(f"{path}: {status} for a request over the budget: {reply}")

    def refused(self, refused):
        """A full queue is an answer; anything else is a loss."""
        self.counts[f"refused {refused.status}"] += 1
        if refused.status not in (503, 529):
            self.problem(f"refused: {refused}")

    async def swap(self):
        """An adapter comes and goes, and is used while it is there."""
        path, body = protocols.chat(QUESTIONS[0], 8, "guest")
        while time.monotonic() < self.until:
            status, reply = await lines.ask(self.port, "POST", "/v1/adapters", {"name": "guest", "path": "guest"})
            if status not in (200, 201):
                self.problem(f"mounting: {status} {reply}")
            try:
                protocols.text(path, await lines.stream(self.port, path, body))
            except lines.Refused as refused:
                self.refused(refused)
            status, reply = await lines.ask(self.port, "DELETE", "/v1/adapters/guest")
            if status not in (200, 204):
                self.problem(f"unmounting: {status} {reply}")
            self.counts["adapter swaps"] += 1
            await asyncio.sleep(0.2)

    async def watch(self):
        """Health has to be told at once and to be true; memory is noted."""
        began = time.monotonic()
        while time.monotonic() < self.until:
            status, health = await lines.ask(self.port, "GET", "/health")
            if status != 200 or health["worker"] != "ready":
                self.problem(f"health {status}: {health}")
            self.memory.append((time.monotonic() - began, _resident(self.server.process.pid)))
            self.counts["health checks"] += 1
            await asyncio.sleep(1)

    async def rest(self):
        for _ in range(300):
            _, health = await lines.ask(self.port, "GET", "/health")
            if health["active"] == 0 and health["queued"] == 0:
                return health
            await asyncio.sleep(0.1)
        self.problem(f"the server does not come to rest: {health}")
        return health

    async def run(self):
        await self.quiet_answers()
        self.until = time.monotonic() + self.options.minutes * 60
        await asyncio.gather(self.swap(), self.watch(), *(self.client(n) for n in range(self.options.clients)))
        health = await self.rest()
        for question in QUESTIONS:
            path, body = protocols.chat(question, TOKENS, None)
            if protocols.text(path, await lines.stream(self.port, path, body)) != self.expected[question, None]:
                self.problem(f"{question!r} is answered otherwise at the end")
        return health


def _resident(process):
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell a process's memory")


def slope(samples):
    """Bytes a minute, by least squares over the second half: the first is for warming up."""
    later = samples[len(samples) // 2:]
    times, sizes = [t for t, _ in later], [s for _, s in later]
    mean_t, mean_s = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((t - mean_t) ** 2 for t in times)
    return 60 * sum((t - mean_t) * (s - mean_s) for t, s in zip(times, sizes)) / spread if spread else 0.0


def markdown(results):
    counts = "; ".join(f"{count:,} {what}" for what, count in sorted(results["counts"].items()))
    return (f"{results['clients']} streaming clients for {results['minutes']:g} minutes, seed {results['seed']}: {counts or 'nothing'}. "
            f"Problems: {len(results['problems'])}. Resident memory {results['first_mb']:.0f} MB at the middle, "
            f"{results['last_mb']:.0f} MB at the end, slope of the second half {results['slope_mb_per_minute']:+.2f} MB a minute.\n")


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--readme", type=Path, help="file whose block between the soak markers is replaced")
    return parser.parse_args()


def main():
    options = _arguments()
    model = ROOT / "demo" / "model"
    with servers.scratch() as folder:
        root = folder / "adapters"
        named = [adapters.make(model, root, name, seed) for seed, name in enumerate(("first", "second", "guest"))]
        server = servers.start_ours(options.binary, model, folder, "--adapter-root", str(root), "--adapter", f"first={named[0]}",
                                    "--adapter", f"second={named[1]}", "--default-adapter", "none", "--memory-budget", _BUDGET,
                                    "--prompt-cache-bytes", "64MB", "--max-batch", "8", "--max-active", "16", "--queue-limit", "128")
        try:
            server.wait()
            soak = Soak(options, server)
            health = asyncio.run(soak.run())
            peak = server.peak_memory()
        finally:
            code = server.stop()
        if code != 0:
            soak.problem(f"exit code {code}: {server.tail()}")
    middle = soak.memory[len(soak.memory) // 2][1]
    results = {"clients": options.clients, "minutes": options.minutes, "seed": options.seed, "counts": dict(soak.counts),
               "problems": soak.problems, "health": health, "peak_mb": peak / 1e6, "first_mb": middle / 1e6,
               "last_mb": soak.memory[-1][1] / 1e6, "slope_mb_per_minute": slope(soak.memory) / 1e6, "machine": report.machine()}
    print(report.write("soak", results, markdown(results), ROOT / "reports", options.readme))
    print(json.dumps(health), file=sys.stderr)
    sys.exit(1 if soak.problems else 0)


if __name__ == "__main__":
    main()
