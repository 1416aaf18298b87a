"""Drives `verbatim serve` with the official Python and JavaScript packages of OpenAI and Anthropic.

    python run.py [--binary FILE] [--only PART]

Makes an environment for each language below `target/sdk`, starts a server on the demo model, lets both drivers run
`scenarios.json`, and holds what came back against the table. One place judges, whatever language asked.
"""

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(HERE.parent))

import servers  # noqa: E402
from environments import prepare_javascript, prepare_python  # noqa: E402

_CROWD = 12


class Judge:
    """Compares results with what the table expects."""

    def __init__(self, table):
        self.table = table
        self.scenarios = {scenario["name"]: scenario for scenario in table["scenarios"]}
        self.counts = Counter()
        self.seen = {}

    def note(self, name, problems):
        self.counts["failed" if problems else "passed"] += 1
        if problems:
            print(f"failed  {name}: " + "; ".join(problems), flush=True)

    def hear(self, language, told):
        name = f"{language} {told['api']} {told['scenario']} ({told['mode']})"
        scenario = self.scenarios[told["scenario"]]
        if "broken" in told:
            return self.note(name, [told["broken"]])
        problems = []
        if len(told["turns"]) != len(scenario["turns"]):
            problems.append(f"{len(told['turns'])} turns of {len(scenario['turns'])}: {told['turns'][-1]}")
        for at, (turn, found) in enumerate(zip(scenario["turns"], told["turns"])):
            problems += [f"turn {at + 1}: {p}" for p in self.turn(told["api"], turn["expect"], found)]
            if turn["expect"].get("same", True) and "error" not in turn["expect"]:
                problems += self.same((told["api"], told["scenario"], at), found)
        return self.note(name, problems)

    def same(self, key, found):
        """Every language and mode gets the same answer."""
        kept = {k: found.get(k) for k in ("text", "reasoning", "finish")} | {"output": found.get("usage", {}).get("output")}
        kept["calls"] = [(c["name"], c["arguments"]) for c in found.get("calls", [])]
        first = self.seen.setdefault(key, kept)
        return [] if first == kept else [f"{kept} differs from {first}"]

    def turn(self, api, expect, found):
        if "error" in expect:
            error = found.get("error")
            if not error or error["status"] != expect["error"]:
                return [f"error {expect['error']} expected, got {found}"]
            return [] if expect.get("error_says", "") in error["message"] else [f"the error does not say so: {error['message']}"]
        if "error" in found:
            return [f"error {found['error']}"]
        return [f"{what} ({found})" for what, good in self.checks(api, expect, found) if not good]

    def checks(self, api, expect, found):
        calls = [[c["name"], c["arguments"]] for c in found["calls"]]
        finish = expect.get("finish")
        if finish == "stop_string" and api == "chat":
            finish = "stop"
        yield "usage", found["usage"]["input"] > 0 and found["usage"]["output"] > 0
        yield "calls have ids of their own", len({c["id"] for c in found["calls"]}) == len(calls)
        if finish:
            yield f"finish {finish}", found["finish"] == finish
        if "stopped_by" in expect and api == "messages":
            yield "stop sequence", found["stopped_by"] == expect["stopped_by"]
        if "contains" in expect:
            yield f"text with {expect['contains']!r}", expect["contains"] in found["text"]
        if "lacks" in expect:
            yield f"text without {expect['lacks']!r}", expect["lacks"] not in found["text"]
        if expect.get("nonempty"):
            yield "text", bool(found["text"])
        if "calls" in expect:
            yield f"calls {expect['calls']}", calls == expect["calls"]
        if "called" in expect:
            yield f"calls of {expect['called']}", bool(calls) and all(self.fits(*call) for call in calls) \
                and {c[0] for c in calls} <= set(expect["called"])
        if "call_count" in expect:
            yield "number of calls", len(calls) == expect["call_count"]
        if "reasoning" in expect:
            yield "reasoning" if expect["reasoning"] else "no reasoning", bool(found["reasoning"]) == expect["reasoning"]
            if "reasoning" in found["usage"]:
                yield "reasoning tokens", (found["usage"]["reasoning"] > 0) == expect["reasoning"]
        if "schema" in expect:
            yield f"the shape {expect['schema']}", self.valid(found["text"], self.table["schemas"][expect["schema"]])
        if "output_tokens" in expect:
            yield "output tokens", found["usage"]["output"] == expect["output_tokens"]
        if "logprobs" in expect:
            yield "log-probabilities", bool(found["logprobs"]) and set(found["logprobs"]) == {expect["logprobs"]}
        if "choice_count" in expect:
            yield "choices", found["choices"] == expect["choice_count"]
        if expect.get("cached"):
            yield "cached tokens", 0 < found["usage"]["cached"] < found["usage"]["input"]

    def fits(self, name, arguments):
        return _valid(arguments, self.table["tools"][name]["parameters"])

    def valid(self, text, schema):
        try:
            return _valid(json.loads(text), schema)
        except ValueError:
            return False


def _valid(value, schema):
    """The few keywords that the table's schemas use."""
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] == "object":
        fields = schema["properties"]
        return isinstance(value, dict) and set(schema["required"]) <= set(value) <= set(fields) \
            and all(_valid(value[name], fields[name]) for name in value)
    kinds = {"string": str, "integer": int, "boolean": bool}
    return isinstance(value, kinds[schema["type"]]) and (schema["type"] == "boolean" or not isinstance(value, bool))


def _health(server):
    with urllib.request.urlopen(f"{server.url}/health", timeout=5) as reply:
        return json.load(reply)


def _comes_to_rest(server, limit=20.0):
    """Whether nothing runs any more: streams that were left are given up."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if _health(server)["active"] == 0:
            return True
        time.sleep(0.1)
    return False


def _drive(judge, language, command, server):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        told = json.loads(line)
        if "cancelled" in told:
            judge.note(f"{language} {told['api']} cancel", [] if _comes_to_rest(server) else ["the generation goes on"])
        else:
            judge.hear(language, told)
    if process.wait() != 0:
        judge.note(f"{language} driver", [f"exit code {process.returncode}"])


def _crowded(judge, binary, folder, drivers):
    """A server that takes few requests: the packages wait and try again."""
    server = servers.start_ours(binary, ROOT / "demo" / "model", folder, "--queue-limit", "1", "--max-active", "1")
    try:
        server.wait()
        for language, command in drivers(server.url).items():
            told = subprocess.run([*command, str(_CROWD)], capture_output=True, text=True)
            problems = [] if told.returncode == 0 and json.loads(told.stdout) == {"crowd": _CROWD} else [told.stderr[-2000:] or told.stdout]
            if "status=503" not in server.tail() and "status=529" not in server.tail():
                problems.append("no request had to be tried again")
            judge.note(f"{language} retries", problems)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "verbatim")
    parser.add_argument("--only", default="", help="part of the scenarios' names")
    options = parser.parse_args()
    if not options.binary.is_file():
        parser.error(f"{options.binary} is missing; `./just sdk` builds it")
    table = json.loads((HERE / "scenarios.json").read_text())
    table["scenarios"] = [s for s in table["scenarios"] if options.only in s["name"]]
    python, javascript = prepare_python(), prepare_javascript()
    judge = Judge(table)
    with servers.scratch() as folder:
        path = folder / "scenarios.json"
        path.write_text(json.dumps(table))

        def drivers(url):
            return {"Python": [python, HERE / "driver.py", path, url],
                    "JavaScript": ["node", HERE / "driver.mjs", path, url, javascript]}

        server = servers.start_ours(options.binary, ROOT / "demo" / "model", folder)
        try:
            server.wait()
            for language, command in drivers(server.url).items():
                _drive(judge, language, command, server)
            worker = _health(server)["worker"]
            judge.note("the server's health", [] if worker == "ready" else [worker])
        finally:
            code = server.stop()
        judge.note("the server's end", [] if code == 0 else [f"exit code {code}", server.tail()])
        if not options.only:
            _crowded(judge, options.binary, folder, drivers)
    counts = judge.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed", flush=True)
    sys.exit(0 if counts["passed"] and not counts["failed"] else 1)


if __name__ == "__main__":
    main()
