"""Measures long contexts beside mlx-lm and mlx-optiq: bytes of keys and values, decode rate, peak memory.

    python context.py [--sizes N,N] [--tokens N] [--rounds N] [--limit SECONDS] [--readme FILE]

A size that would take longer than the limit is skipped, and the table says so.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

import measure  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from subjects import HERE, ROOT, Subject, endless, text  # noqa: E402

# One pair of rounds is enough for runs of this length.
_LONG_S = 20.0
_GROUP = 64
_MIXED = [{"layer_idx": 0, "bits": 4, "group_size": _GROUP}, {"layer_idx": 1, "bits": 8, "group_size": _GROUP}]


def _uniform(bits):
    return {"uniform": {"bits": bits, "group_size": _GROUP, "start": 0}}


def modes(folder):
    """Name, title, our options, the reference and what it is told."""
    config = folder / "kv_config.json"
    config.write_text(json.dumps(_MIXED))
    return [("plain", "bf16", [], "mlx-lm", "bf16"),
            ("kv-8", "8 bits", ["--kv-bits", "8"], "mlx-lm", _uniform(8)),
            ("mixed", "mixed 4 and 8", ["--kv-config", str(config)], "mlx-optiq", {"seq": _MIXED}),
            ("kv-4", "4 bits", ["--kv-bits", "4"], "mlx-lm", _uniform(4))]


def _sides(options, model, subject, mode):
    _, _, ours, _, theirs = mode
    return [("ours", lambda: measure.our_engine(options.binary, model, subject, ours)),
            ("theirs", lambda: measure.peer_context(model, subject, theirs))]


def _rounds(options, model, subject, mode):
    """Pairs of rounds, in which each side goes first once; for long runs one pair is enough."""
    sides, rounds = _sides(options, model, subject, mode), []
    while len(rounds) < options.rounds and (len(rounds) < 2 or len(rounds) % 2 or _slowest(rounds, "run_s") < _LONG_S):
        found = {}
        for name, side in sides:
            started = time.perf_counter()
            found[name] = side()
            found[name]["run_s"] = time.perf_counter() - started
        sides.reverse()
        rounds.append(found)
    return rounds


def _slowest(rounds, key):
    return max(side[key] for found in rounds for side in found.values())


def _expected(rounds, size, wanted):
    """Seconds that a run with `wanted` tokens may take: each attends to all before it."""
    prefill = _slowest(rounds, "first_token_s")
    return prefill * (wanted / size) ** 2 + (_slowest(rounds, "run_s") - prefill) * wanted / size


def _ratios(rounds, key):
    return report.paired(*([r[side][key] for r in rounds] for side in ("ours", "theirs")))


def _result(mode, subject, rounds):
    name, title, _, reference, _ = mode
    runs = [r[side] for r in rounds for side in ("ours", "theirs")]
    texts, tokens = {r.pop("text") for r in runs}, {(r["prompt_tokens"], r["generated_tokens"]) for r in runs}
    if len(tokens) != 1:
        raise RuntimeError(f"{title}: prompt and generated tokens differ: {sorted(tokens)}")
    [(prompt, generated)] = tokens
    keys = ("kv_bytes", "decode_per_s", "peak_bytes", "first_token_s")
    median = {side: {k: statistics.median(r[side][k] for r in rounds) for k in keys} for side in ("ours", "theirs")}
    return {"mode": name, "title": title, "reference": reference, "prompt_tokens": prompt, "generated_tokens": generated,
            "same_text": len(texts) == 1, "runs": len(rounds), **median,
            "ratio": {k: report.spread(_ratios(rounds, k)) for k in keys}, "rounds": rounds}


def _skipped(mode, size, reason):
    return {"mode": mode[0], "title": mode[1], "prompt_tokens": size, "skipped": reason}


def _measured(options, model, folder):
    rows = []
    for mode in modes(folder):
        rounds = size_before = None
        for size in options.sizes:
            if rounds and (guess := _expected(rounds, size_before, size)) > options.limit:
                rows.append(_skipped(mode, size, f"about {guess:.0f} s a run, the limit is {options.limit:.0f} s"))
                continue
            subject = Subject("context", "", Path(), text(size), options.tokens)
            rounds, size_before = _rounds(options, model, subject, mode), size
            rows.append(_result(mode, subject, rounds))
            print(f"{mode[1]}, {size} tokens: {_slowest(rounds, 'run_s'):.1f} s a run, decode {rows[-1]['ours']['decode_per_s']:.1f} and "
                  f"{rows[-1]['theirs']['decode_per_s']:.1f} tokens/s", file=sys.stderr, flush=True)
    return sorted(rows, key=lambda row: row["prompt_tokens"])


def _row(row):
    start = f"| {row['prompt_tokens']} | {row['title']} | "
    if "skipped" in row:
        return start + f"skipped: {row['skipped']} | | | | | | |"
    ours, theirs = row["ours"], row["theirs"]
    rate = row["ratio"]["decode_per_s"]
    spread = f" ({rate['least']:.3g}–{rate['greatest']:.3g})" if rate["runs"] > 1 else ""
    same = "" if row["same_text"] else " (other text)"
    return start + (f"{ours['kv_bytes']:.0f} | {theirs['kv_bytes']:.0f} | {report.short(ours['decode_per_s'])} | "
                    f"{report.short(theirs['decode_per_s'])} | {rate['median']:.3g}{spread} | {ours['peak_bytes'] / 1e6:.0f} / "
                    f"{theirs['peak_bytes'] / 1e6:.0f} | {row['reference']}{same} |")


def markdown(results):
    """The README's block."""
    about = results["machine"]
    lines = [f"Measured on {about['processor']} ({about['system']}), mlx {about['mlx']}, mlx-lm {about['mlx-lm']}: a random "
             f"model with 2 layers and one head of 64, bf16; {results['tokens']} tokens generated behind the prompt. Medians "
             f"of up to {results['rounds']} alternating rounds (two where a run takes over {_LONG_S:.0f} s); a ratio is that of two "
             "rounds, in which each side went first once, and the median of these is given.", "",
             "| Prompt | Keys and values | KV bytes | theirs | decode, tokens/s | theirs | ratio | peak MB, ours / theirs | beside |",
             "|--:|---|--:|--:|--:|--:|--:|--:|---|"]
    return "\n".join([*lines, *map(_row, results["rows"]), ""])


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1024,4096,16384,65536", help="prompt tokens, comma between, ascending")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to generate")
    parser.add_argument("--rounds", type=int, default=4, help="an even number: each side goes first in half of them")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one run may take")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--oracle", type=Path, default=ROOT / "target" / "debug" / "oracle")
    parser.add_argument("--readme", type=Path, help="file whose block between the bench-context markers is replaced")
    options = parser.parse_args()
    options.sizes = sorted(int(size) for size in options.sizes.split(","))
    if options.rounds < 2 or options.rounds % 2:
        parser.error("--rounds must be even and at least 2")
    for needed in (options.binary, options.oracle):
        if not needed.is_file():
            parser.error(f"{needed} is missing; `./just bench-context` builds it")
    return options


def main():
    options = _arguments()
    with servers.scratch() as folder:
        subject = Subject("context", "", HERE / "models" / "context.json", "", options.tokens)
        model = endless(subject, folder, options.oracle)
        rows = _measured(options, model, folder)
    results = {"machine": report.machine(), "rounds": options.rounds, "tokens": options.tokens, "rows": rows}
    print(report.write("bench-context", results, markdown(results), ROOT / "reports", options.readme))


if __name__ == "__main__":
    main()
