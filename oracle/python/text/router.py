"""Runs mlx-lm's TextStateMachine over made-up streams, for the engine's tests.

    python router.py OUT.json

A case is [family, stop strings, start, text, pieces, stopped]; a piece is
[channel, text, ends_call]. Stop strings end the machine here, as they end a generation.
"""

import argparse
import json
import pathlib
import random
from types import SimpleNamespace

from mlx_lm.generate import TextStateMachine, make_text_state_machine
from mlx_lm.tool_parsers import gemma4, json_tools, minicpm5

FAMILIES = {
    "minicpm5": ("<think>", "</think>", minicpm5.tool_call_start, minicpm5.tool_call_end),
    "qwen": ("<think>", "</think>", json_tools.tool_call_start, json_tools.tool_call_end),
    "gemma4": ("<|channel>thought", "<channel|>", gemma4.tool_call_start, gemma4.tool_call_end),
    "thinking": ("<think>", "</think>", None, None),
    "tools": (None, None, json_tools.tool_call_start, json_tools.tool_call_end),
    "plain": (None, None, None, None),
}
STOPS = [[], [], ["\n\n"], ["<"], ["END", "EN"], ["</think>"], ["\u4f60\u597d", "\u4f60"], ["aab", "aaab", "b"], ["tool_call>x"], ["", "stop"]]
FRAGMENTS = ["a", "aa", "b", " ", "\n", "\n\n", "<", "<<", ">", "END", "E", "stop", "\u4f60", "\u597d", "\u00e9", "\U0001f600", "</", "<t", "<think", "<|channel>", "thought", "<|", "x", "{\"name\": 1}"]


def machine(family, stops):
    start, end, call_start, call_end = FAMILIES[family]
    tokenizer = SimpleNamespace(
        has_thinking=start is not None, think_start=start, think_end=end,
        has_tool_calling=call_start is not None, tool_call_start=call_start, tool_call_end=call_end,
        structural_markers=(), response_transitions={},
    )
    built = make_text_state_machine(tokenizer, stops)
    # The same edges, with those of stop strings ending the machine.
    transitions = {}
    for state in built._states:
        edges = []
        if state == "normal" and start:
            edges.append((start, "reasoning"))
        if state == "normal" and call_start:
            edges.append((call_start, "tool"))
        if state == "reasoning":
            edges.append((end, "normal"))
            if call_start:
                edges.append((call_start, "tool"))
        if state == "tool":
            edges.append((call_end, "normal"))
        transitions[state] = edges + [(s, None) for s in stops]
    return TextStateMachine(transitions)


def pieces(family, stops, start, text):
    state, segments = TextStateMachine.split(machine(family, stops).make_state(start), text)
    stopped = state[0] is None
    if stopped:
        segments.pop()
    else:
        _, rest, _ = TextStateMachine.flush(state)
        segments[-1] = (segments[-1][0], segments[-1][1] + rest)
    out = []
    for i, (name, part) in enumerate(segments):
        ends = name == "tool" and i + 1 < len(segments)
        if part and out and out[-1][0] == name and not out[-1][2]:
            out[-1][1] += part
        elif part or ends:
            out.append([name, part, False])
        if ends:
            out[-1][2] = True
    return out, stopped


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    rng = random.Random(7)
    cases = []
    for n in range(400):
        family = rng.choice(list(FAMILIES))
        markers = [m for m in FAMILIES[family] if m]
        stops = rng.choice(STOPS)
        start = rng.choice(["normal", "normal", "reasoning"]) if FAMILIES[family][0] else "normal"
        text = "".join(
            rng.choice(markers) if markers and rng.random() < 0.35 else rng.choice(FRAGMENTS)
            for _ in range(rng.randrange(14))
        )
        out, stopped = pieces(family, stops, start, text)
        cases.append([family, stops, start, text, out, stopped])
    temporary = args.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n")
    temporary.replace(args.out)


if __name__ == "__main__":
    main()
