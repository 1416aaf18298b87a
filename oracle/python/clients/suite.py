"""A small runner: named checks, a line each, and counts at the end."""

import time
import traceback


class Skip(Exception):
    """Raised by a check that cannot run here; its text says why."""


CHECKS = []


def check(function):
    """Registers a check; it receives the running servers (see `run.py`)."""
    CHECKS.append(function)
    return function


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def true(condition, what):
    if not condition:
        raise AssertionError(what)


def _name(function):
    return f"{function.__module__}.{function.__name__}"


def run(servers, part):
    """Runs the checks whose name contains `part`; returns whether none failed."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function in CHECKS:
        if part not in _name(function):
            continue
        started = time.monotonic()
        try:
            function(servers)
            outcome, note = "passed", ""
        except Skip as reason:
            outcome, note = "skipped", f": {reason}"
        except Exception:  # noqa: BLE001 - whatever a check raises is its failure
            outcome, note = "failed", "\n" + traceback.format_exc()
        counts[outcome] += 1
        print(f"{outcome:7} {_name(function)} {time.monotonic() - started:.2f} s{note}", flush=True)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return counts["failed"] == 0 and counts["passed"] > 0
