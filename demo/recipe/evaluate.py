"""Scores an OpenAI-compatible server on the demo model's cases (standard library only).

Run: python evaluate.py [--url http://127.0.0.1:8080] [--set heldout|blind|numbers] [--limit N] [--out FILE.json]
With --serve VERBATIM it serves ../model itself for as long as it takes.
Exits with 1 if the overall score is below --least (90 %).
"""

import argparse
import concurrent.futures
import contextlib
import copy
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import blind
import checks
import heldout


def body(case, model):
    """The request: greedy, tool arguments as JSON text, as OpenAI's clients send them."""
    messages = copy.deepcopy(case["messages"])
    for message in messages:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    request = {"model": model, "messages": messages, "temperature": 0.0, "max_tokens": 200, "chat_template_kwargs": {"enable_thinking": case["thinking"]}}
    if case["tools"]:
        request["tools"] = case["tools"]
    return request


def ask(url, request, seconds):
    sent = urllib.request.Request(url + "/v1/chat/completions", json.dumps(request).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(sent, timeout=seconds) as reply:
        return json.load(reply)["choices"][0]


def judge(case, url, model, seconds):
    """(reason or None, message) of one case; a failed request is a wrong answer."""
    try:
        choice = ask(url, body(case, model), seconds)
        message = choice["message"]
        calls = [{"name": c["function"]["name"], "arguments": json.loads(c["function"]["arguments"])} for c in message.get("tool_calls") or []]
    except (OSError, ValueError, KeyError, urllib.error.URLError) as error:
        return f"request failed: {error}", None
    return checks.judge(case, message.get("content"), message.get("reasoning"), calls, choice.get("finish_reason")), message


def show(table):
    print(f"{'category':26s} {'thinking':>12s} {'direct':>12s} {'both':>14s}")
    total = [0] * 4
    for name, counts in sorted(table.items()) + [("all", total)]:
        if name != "all":
            total[:] = [a + b for a, b in zip(total, counts)]
        a, b, c, d = counts
        percent = f"{100 * (a + c) / max(1, b + d):.1f}%"
        print(f"{name:26s} {f'{a}/{b}':>12s} {f'{c}/{d}':>12s} {f'{a + c}/{b + d}':>9s} {percent:>6s}")
    return (total[0] + total[2]) / max(1, total[1] + total[3])


@contextlib.contextmanager
def served(binary):
    """The URL of a server of the demo model that lives as long as the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model")
    server = subprocess.Popen([binary, "serve", "--model", model, "--port", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + "/health", timeout=5).close()
                break
            if server.poll() is not None:
                sys.exit(f"{binary} ended with {server.returncode}")
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--url", default="http://127.0.0.1:8080")
    args.add_argument("--serve", metavar="VERBATIM", help="start this program instead of using --url")
    args.add_argument("--model", default="default_model")
    args.add_argument("--set", choices=["heldout", "blind", "numbers"], default="heldout")
    args.add_argument("--limit", type=int, help="a seeded sample of that many cases")
    args.add_argument("--workers", type=int, default=4, help="requests at a time")
    args.add_argument("--seconds", type=float, default=120, help="patience per request")
    args.add_argument("--least", type=float, default=0.9)
    args.add_argument("--out", help="write every wrong answer to this JSON file")
    args = args.parse_args()
    with served(args.serve) if args.serve else contextlib.nullcontext(args.url) as url:
        reached = evaluate(args, url)
    sys.exit(0 if reached >= args.least else 1)


def evaluate(args, url):
    """The share of right answers; prints the table."""
    cases = {"heldout": heldout.cases, "blind": blind.cases, "numbers": heldout.number_cases}[args.set]()
    mark = heldout.fingerprint(cases)
    if args.limit and args.limit < len(cases):
        cases = random.Random(0).sample(cases, args.limit)
    began, table, wrong = time.time(), {}, []
    with concurrent.futures.ThreadPoolExecutor(args.workers) as pool:
        results = pool.map(lambda case: judge(case, url, args.model, args.seconds), cases)
        for case, (reason, message) in zip(cases, results):
            counts = table.setdefault(case["category"], [0, 0, 0, 0])
            at = 0 if case["thinking"] else 2
            counts[at] += reason is None
            counts[at + 1] += 1
            if reason:
                wrong.append({"category": case["category"], "thinking": case["thinking"], "reason": reason, "messages": case["messages"], "answer": message, "check": case["check"]})
    print(f"{args.set} set {mark}: {len(cases)} cases, {time.time() - began:.0f} s")
    reached = show(table)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"set": args.set, "fingerprint": mark, "score": reached, "table": table, "wrong": wrong}, file, indent=1, ensure_ascii=False)
    return reached


if __name__ == "__main__":
    main()
