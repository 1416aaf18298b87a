"""The held-out cases: phrasings, number pairs, cities and words that training never sees (standard library only)."""

import functools
import hashlib
import json
import random

import corpus

# (kind, how many, whether a call, no call or either is wanted)
PLAN = [
    ("talk", 90, None), ("identity", 80, None), ("fact", 140, None), ("unknown", 140, None), ("add", 90, None), ("subtract", 90, None),
    ("weather", 30, None), ("weather call", 120, None), ("calculation", 90, None), ("tool answer", 90, None), ("with tools", 90, False), ("follow up", 90, None), ("repeat", 40, None),
]


def cases(seed=2026):
    rng, out, seen = random.Random(seed), [], set()
    for kind, count, call in PLAN:
        made = 0
        while made < count:
            case = corpus.example(rng, held=True, kind=kind, thinking=made % 2 == 0)
            key = json.dumps([case["messages"][-1], case["thinking"], bool(case["tools"])])
            if key in seen or (call is False and case["call"]):
                continue
            seen.add(key)
            if kind == "with tools":
                case["category"] = "no call although tools"
            out.append(case)
            made += 1
    return out


def number_cases(seed=99, count=100):
    """Kept-back phrasings over all numbers, learned pairs included: how well sums work, not how well they generalise."""
    rng, out = random.Random(seed), []
    for minus in (False, True):
        for low, top in ((0, 99), (100, 999)):
            for i in range(count):
                a, b = rng.randint(low, top), rng.randint(low, top)
                scene = corpus.Scene(rng, True)
                text = scene.pick(corpus.p.SUB_HELD if minus else corpus.p.ADD_HELD, corpus.p.SUB_HELD if minus else corpus.p.ADD_HELD)
                user, _ = scene.say(text, {"a": a, "b": b, "things": rng.choice(corpus.p.THINGS_HELD)})
                name = f"{'subtract' if minus else 'add'} {low}..{top}"
                out.append({"category": name, "messages": [{"role": "user", "content": user}], "tools": None, "thinking": i % 2 == 0, "check": {"number": a - b if minus else a + b}})
    return out


@functools.cache
def user_texts():
    """What users say in the cases, for training to leave out."""
    return frozenset(corpus.normal(m["content"]) for case in cases() for m in case["messages"] if m["role"] == "user")


def fingerprint(listed):
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    listed = cases()
    print(len(listed), "cases,", fingerprint(listed))
