"""Compares JSON by keys and kinds of values."""


def _kind(value):
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "list", dict: "object", type(None): "null"}[type(value)]


def differences(ours, theirs, path="$", allowed=()):
    """How the shape of `ours` differs from `theirs`, a line each.

    A list is compared by its first element. `allowed` names paths that may differ.
    """
    if path in allowed:
        return []
    if _kind(ours) != _kind(theirs):
        return [f"{path} is {_kind(ours)}, theirs is {_kind(theirs)}"]
    lines = []
    if isinstance(ours, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            here = f"{path}.{key}"
            if key in ours and key in theirs:
                lines += differences(ours[key], theirs[key], here, allowed)
            elif here not in allowed:
                lines.append(f"{here} is {'missing' if key in theirs else 'extra'}")
    elif isinstance(ours, list) and ours and theirs:
        lines += differences(ours[0], theirs[0], f"{path}[]", allowed)
    return lines
