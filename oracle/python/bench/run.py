"""Measures `verbatim` beside mlx-lm, in alternating rounds on the same models.

    python run.py [--rounds N] [--only NAME,…] [--tokens N] [--readme FILE]
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

import measure  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
from subjects import ROOT, endless, subjects  # noqa: E402


def _ours(options, model, subject, folder):
    def start():
        return servers.start_ours(options.binary, model, folder, "--log-format", "json")

    return {"engine": measure.our_engine(options.binary, model, subject), "server": measure.server(start, subject)}


def _theirs(_options, model, subject, folder):
    def start():
        return servers.start_peer(model, folder)

    return {"engine": measure.peer_engine(model, subject), "server": measure.server(start, subject)}


def _rounds(options, subject, folder):
    """Who goes first changes from round to round."""
    model, sides = endless(subject, folder, options.oracle), [("ours", _ours), ("theirs", _theirs)]
    rounds = []
    for number in range(options.rounds):
        found = {name: side(options, model, subject, folder) for name, side in sides}
        sides.reverse()
        rounds.append(found)
        rates = [found[s]["engine"]["decode_per_s"] for s in ("ours", "theirs")]
        print(f"{subject.name} {number + 1}/{options.rounds}: decode {rates[0]:.1f} and {rates[1]:.1f} tokens/s",
              file=sys.stderr, flush=True)
    return rounds


def _result(subject, rounds):
    engines = [r[side]["engine"] for r in rounds for side in ("ours", "theirs")]
    texts = {e.pop("text") for e in engines}
    counts = {(e["prompt_tokens"], e["generated_tokens"]) for e in engines}
    if len(counts) != 1:
        raise RuntimeError(f"{subject.name}: prompt and generated tokens differ: {sorted(counts)}")
    prompt, generated = counts.pop()
    return {"name": subject.name, "title": subject.title, "prompt_tokens": prompt, "generated_tokens": generated,
            "same_text": len(texts) == 1, "summary": report.summary(rounds), "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="an even number: each side goes first in half of them")
    parser.add_argument("--only", help="some of, with commas between: " + ", ".join(subjects()))
    parser.add_argument("--tokens", type=int, help="tokens to generate, for a quick look")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--oracle", type=Path, default=ROOT / "target" / "debug" / "oracle")
    parser.add_argument("--readme", type=Path, help="file whose block between the bench markers is replaced")
    options = parser.parse_args()
    for needed in (options.binary, options.oracle):
        if not needed.is_file():
            parser.error(f"{needed} is missing; `./just bench` builds it")
    if options.rounds < 2 or options.rounds % 2:
        parser.error("--rounds must be even and at least 2")
    names = options.only.split(",") if options.only else list(subjects())
    if unknown := set(names) - set(subjects()):
        parser.error(f"no subject is called {', '.join(sorted(unknown))}")
    chosen = [subjects()[name] for name in names]
    if options.tokens:
        chosen = [replace(s, tokens=options.tokens) for s in chosen]
    results = {"machine": report.machine(), "rounds": options.rounds, "subjects": []}
    with servers.scratch() as folder:
        for subject in chosen:
            results["subjects"].append(_result(subject, _rounds(options, subject, folder)))
            # What is measured by now outlives an interruption.
            text = report.write("bench", results, report.markdown(results), ROOT / "reports", options.readme)
    print(text)


if __name__ == "__main__":
    main()
