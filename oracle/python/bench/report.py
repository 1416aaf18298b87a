"""Medians with their spread, as JSON and as a Markdown table."""

import json
import platform
import statistics
from importlib.metadata import version
from pathlib import Path


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values), "runs": len(values)}


def _column(rounds, side, kind, key):
    return [r[side][kind][key] for r in rounds]


def paired(ours, theirs):
    """Ratios of two rounds each, in which both sides went first once: going first costs some percent."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    return [(a * b) ** 0.5 for a, b in zip(ratios[::2], ratios[1::2])]


def summary(rounds):
    """Spreads of every figure of both sides, and ratios (ours over theirs) of pairs of rounds."""
    found = {"ours": {}, "theirs": {}, "ratio": {}}
    for kind, keys in (("engine", ("first_token_s", "prefill_per_s", "decode_per_s", "peak_bytes")),
                       ("server", ("ready_s", "first_answer_s", "first_token_s", "tokens_per_s", "peak_bytes"))):
        for key in keys:
            ours, theirs = (_column(rounds, side, kind, key) for side in ("ours", "theirs"))
            found["ours"][f"{kind}.{key}"] = spread(ours)
            found["theirs"][f"{kind}.{key}"] = spread(theirs)
            found["ratio"][f"{kind}.{key}"] = spread(paired(ours, theirs))
    for key in ("overhead_stream", "overhead_whole"):
        found["ours"][f"server.{key}"] = spread(_column(rounds, "ours", "server", key))
    return found


def machine():
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = f"{len(names)} × {names[0]}" if names else model
    return {"system": f"{platform.system()} {platform.machine()}", "processor": model,
            "mlx": version("mlx"), "mlx-lm": version("mlx-lm"), "python": platform.python_version()}


def short(value, digits=3):
    """So many digits that count, and never an exponent for what is large."""
    return f"{value:.{digits}g}" if abs(value) < 10 ** digits else f"{value:.0f}"


def figure(value, scale=1.0, digits=3):
    """Median, least and greatest."""
    if value["median"] == 0:
        return "0"
    text = [short(value[k] * scale, digits) for k in ("median", "least", "greatest")]
    return f"{text[0]} ({text[1]}–{text[2]})"


_ROWS = [("start to ready, s", "server.ready_s", 1), ("start to first answer's end, s", "server.first_answer_s", 1),
         ("time to first token, server, ms", "server.first_token_s", 1e3), ("prefill, tokens/s", "engine.prefill_per_s", 1),
         ("decode, tokens/s", "engine.decode_per_s", 1), ("server, whole request, tokens/s", "server.tokens_per_s", 1),
         ("peak memory, engine, MB", "engine.peak_bytes", 1e-6), ("peak memory, server, MB", "server.peak_bytes", 1e-6)]


def _verdict(found):
    """What was promised, and whether this run kept it."""
    over = max(found["ours"][f"server.{k}"]["median"] for k in ("overhead_whole", "overhead_stream"))
    decode, ready = (found["ratio"][k]["median"] for k in ("engine.decode_per_s", "server.ready_s"))
    kept = [("decode no slower", decode >= 1), ("ready at least 5 times sooner", ready <= 0.2),
            ("server under 2 % over the engine", over < 0.02)]
    return "Kept: " + "; ".join(f"{what}: {'yes' if yes else '**no**'}" for what, yes in kept) + "."


def markdown(results):
    """The README's block."""
    about = results["machine"]
    lines = [f"Measured on {about['processor']} ({about['system']}), mlx {about['mlx']}, mlx-lm {about['mlx-lm']}: "
             f"medians of {results['rounds']} alternating rounds, least and greatest in brackets; a ratio is that of two "
             "rounds, in which each side went first once, and the median of these is given.", ""]
    for subject in results["subjects"]:
        found = subject["summary"]
        lines += [f"**{subject['title']}** ({subject['prompt_tokens']} prompt tokens, {subject['generated_tokens']} "
                  f"generated; same text on both sides: {'yes' if subject['same_text'] else 'NO'})", "",
                  "| | verbatim | mlx-lm | ratio |", "|---|--:|--:|--:|"]
        for title, key, scale in _ROWS:
            lines.append(f"| {title} | {figure(found['ours'][key], scale)} | {figure(found['theirs'][key], scale)} "
                         f"| {figure(found['ratio'][key])} |")
        over = [figure(found["ours"][f"server.{k}"], 100) + " %" for k in ("overhead_whole", "overhead_stream")]
        lines += [f"| server over engine, whole / streamed | {over[0]} / {over[1]} | | |", "", _verdict(found), ""]
    return "\n".join(lines)


def write(name, results, text, folder, readme):
    """`NAME.json`, `NAME.md`, and the README's block where its markers are."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    folder.mkdir(exist_ok=True)
    for path, content in ((folder / f"{name}.json", json.dumps(results, indent=1) + "\n"), (folder / f"{name}.md", text)):
        staged = path.with_suffix(".tmp")
        staged.write_text(content)
        staged.replace(path)
    if readme is not None and readme.is_file() and begin in (old := readme.read_text()) and end in old:
        before, after = old.split(begin)[0], old.split(end)[1]
        readme.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return text
