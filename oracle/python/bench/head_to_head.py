"""Measures three servers on the same models: `verbatim serve`, `mlx_lm.server` and `optiq serve`.

    python head_to_head.py [--rounds N] [--only NAME,…] [--readme FILE]

Start-up, time to first token, throughput with 1, 4 and 16 clients, memory, and what is prefilled again when a
conversation branches. Every server gets the same requests; who goes first changes from round to round.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

import lines  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from subjects import ROOT, Subject, endless, subjects, text  # noqa: E402

PATH = "/v1/chat/completions"
CLIENTS = (1, 4, 16)
# Figures where less is better; in the others more is.
_LESS = {"ready_s", "first_token_s", "peak_bytes", "refilled", "branch_first_token_s"}


def _start_optiq(model, folder):
    port = servers.free_port()
    home = Path(folder) / "optiq-home"
    (home / "hub").mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("optiq")
    command = [str(program), "serve", "--model", str(model), "--port", str(port)]
    environment = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return servers.Server("optiq serve", command, port, Path(folder) / f"optiq-{port}.log", environment)


def sides(options):
    """Name → start of a server for a model."""
    return {"verbatim": lambda model, folder: servers.start_ours(options.binary, model, folder),
            "mlx-lm": servers.start_peer, "mlx-optiq": _start_optiq}


def _body(messages, tokens):
    return {"model": "default_model", "messages": messages, "max_tokens": tokens, "temperature": 0.0, "stream_options": {"include_usage": True}}


def _user(content):
    return {"role": "user", "content": content}


def _said(event):
    choice = event["choices"][0] if event.get("choices") else {}
    delta = choice.get("delta", {})
    return (delta.get("content") or "") + (delta.get("reasoning") or "")


async def _timed(port, messages, tokens):
    """Seconds to the first text, usage and text of one streamed answer."""
    started, first = time.perf_counter(), []

    def heard(event):
        if not first and _said(event):
            first.append(time.perf_counter() - started)

    events = await lines.stream(port, PATH, _body(messages, tokens), heard=heard)
    usage = next(e["usage"] for e in reversed(events) if e.get("usage"))
    return first[0] if first else time.perf_counter() - started, usage, "".join(map(_said, events))


async def _first_tokens(port, subject, count=6):
    """Prompts that share nothing, so that no cache helps."""
    found = [await _timed(port, [_user(f"{n} {subject.prompt}")], 2) for n in range(count)]
    return statistics.median(f[0] for f in found[1:])


async def _throughput(port, subject, clients):
    """Generated tokens a second of so many clients, each with its own prompt."""
    async def client(number):
        _, usage, _ = await _timed(port, [_user(f"{clients}/{number} {subject.prompt[:200]}")], subject.tokens)
        return usage["completion_tokens"]

    started = time.perf_counter()
    tokens = sum(await asyncio.gather(*(client(n) for n in range(clients))))
    return tokens / (time.perf_counter() - started)


async def _branches(port, subject):
    """One long conversation, then three other last questions: tokens prefilled again, and the wait for them."""
    talk = [{"role": "system", "content": subject.prompt}, _user("What is 2 plus 3?")]
    _, _, answer = await _timed(port, talk, 8)
    talk += [{"role": "assistant", "content": answer}]
    first = [await _timed(port, [*talk, _user(question)], 8) for question in ("And 4 plus 4?", "Who are you?", "Hello!", "What is 9 minus 4?")]
    usages = [usage for _, usage, _ in first[1:]]
    again = sum(u["prompt_tokens"] - u.get("prompt_tokens_details", {}).get("cached_tokens", 0) for u in usages)
    return {"refilled": again / sum(u["prompt_tokens"] for u in usages), "branch_first_token_s": statistics.median(f[0] for f in first[1:])}


def _measure(start, model, folder, subject):
    server = start(model, folder)
    try:
        found = {"ready_s": server.wait(limit=300.0)}
        asyncio.run(_timed(server.port, [_user("Hi")], 4))
        found["first_token_s"] = asyncio.run(_first_tokens(server.port, subject))
        for clients in CLIENTS:
            found[f"tokens_per_s_{clients}"] = asyncio.run(_throughput(server.port, subject, clients))
        found |= asyncio.run(_branches(server.port, subject))
        found["peak_bytes"] = server.peak_memory()
        return found
    finally:
        server.stop()


def _result(options, subject, folder, oracle):
    model, rounds = endless(subject, folder, oracle), []
    order = list(sides(options).items())
    for number in range(options.rounds):
        found = {}
        for name, start in order:
            found[name] = _measure(start, model, folder, subject)
            print(f"{subject.name} {number + 1}/{options.rounds} {name}: " + ", ".join(
                f"{key} {report.short(value)}" for key, value in found[name].items()), file=sys.stderr, flush=True)
        rounds.append(found)
        order.append(order.pop(0))
    summary = {name: {key: report.spread([r[name][key] for r in rounds]) for key in rounds[0][name]} for name in rounds[0]}
    return {"name": subject.name, "title": subject.title, "summary": summary, "rounds": rounds}


_ROWS = [("start to ready, s", "ready_s", 1), ("time to first token, ms", "first_token_s", 1e3),
         *((f"tokens/s, {n} client{'s' if n > 1 else ''}", f"tokens_per_s_{n}", 1) for n in CLIENTS),
         ("peak memory, MB", "peak_bytes", 1e-6), ("prompt prefilled again on a branch, %", "refilled", 100),
         ("time to first token on a branch, ms", "branch_first_token_s", 1e3)]


def _ahead(key, summary):
    ours = summary["verbatim"][key]["median"]
    others = [summary[name][key]["median"] for name in summary if name != "verbatim"]
    return ours <= min(others) if key in _LESS else ours >= max(others)


def markdown(results):
    """The README's block."""
    about = results["machine"]
    out = [f"Measured on {about['processor']} ({about['system']}), mlx {about['mlx']}, mlx-lm {about['mlx-lm']}: medians of "
           f"{results['rounds']} rounds, least and greatest in brackets; all three servers with their own defaults.", ""]
    for subject in results["subjects"]:
        summary = subject["summary"]
        out += [f"**{subject['title']}**", "", "| | verbatim | mlx_lm.server | optiq serve | ahead |", "|---|--:|--:|--:|---|"]
        for title, key, scale in _ROWS:
            cells = [report.figure(summary[name][key], scale) for name in ("verbatim", "mlx-lm", "mlx-optiq")]
            out.append(f"| {title} | {' | '.join(cells)} | {'yes' if _ahead(key, summary) else '**no**'} |")
        out.append("")
    return "\n".join(out)


def _subjects():
    known = subjects()
    chosen = [("demo", text(1_500), 64), ("tiny-24", text(400), 48), ("qwen3_5-tiny", text(400), 48), ("gemma4-tiny", text(400), 48)]
    return {name: Subject(name, known[name].title, known[name].source, prompt, tokens) for name, prompt, tokens in chosen}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="so many that each server goes first as often")
    parser.add_argument("--only", default="", help="names, comma between")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--oracle", type=Path, default=ROOT / "target" / "debug" / "oracle")
    parser.add_argument("--readme", type=Path, help="file whose block between the head-to-head markers is replaced")
    options = parser.parse_args()
    results = {"machine": report.machine(), "rounds": options.rounds, "subjects": []}
    with servers.scratch() as folder:
        for name, subject in _subjects().items():
            if options.only and name not in options.only.split(","):
                continue
            results["subjects"].append(_result(options, subject, folder, options.oracle))
            told = report.write("head-to-head", results, markdown(results), ROOT / "reports", options.readme)
    print(told)


if __name__ == "__main__":
    main()
