"""Judges one answer of the demo model (standard library only)."""

import re


def value(expression):
    """An arithmetic expression's shape without blanks, for comparison."""
    return re.sub(r"\s+", "", str(expression))


def last_number(text):
    found = re.findall(r"(?<![\d])-?\d+(?:\.\d+)?", text)
    return found[-1] if found else None


def tool_call_ok(check, calls):
    if len(calls) != 1 or calls[0]["name"] != check["tool"]:
        return False
    arguments = calls[0]["arguments"]
    if not isinstance(arguments, dict) or set(arguments) != {check["argument"]}:
        return False
    given = str(arguments[check["argument"]])
    if "city" in check:
        return given.strip().lower() == check["city"].lower()
    return value(given) == value(check["expression"])


def judge(case, content, reasoning, calls, finish):
    """None if the answer is right, else a short reason."""
    check, content = case["check"], content or ""
    if finish not in ("stop", "tool_calls"):
        return f"finish_reason {finish}"
    if case["thinking"] and not (reasoning or "").strip():
        return "no reasoning although thinking is on"
    if case["thinking"] is False and (reasoning or "").strip():
        return "reasoning although thinking is off"
    if "tool" in check:
        return None if tool_call_ok(check, calls) else "wrong or missing tool call"
    if calls:
        return "unwanted tool call"
    if "number" in check:
        return None if last_number(content) == str(check["number"]) else "wrong number"
    return None if re.search(check["match"], content.lower(), re.S) else "expected text is missing"
