"""Several sequences together on the reference: mlx-lm's own `BatchGenerator`, watched through logits processors.

mlx-lm hands each row's logits to its processors before anything is done to them: the first of each row notes
them and gives them back as they are.
"""

from pathlib import Path

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load_model

from . import compat, raw, trace


def run(spec):
    """Runs one batch.

    `spec`: `model_dir`, `prefill_step_size`, `max_rows`, `rows`: each `prompt` (ids), `steps`, `join` (turns before
    it joins), `sampling`. Returns `([tokens of each row], {"row{i}.logits": (dtype name, array)})`.
    """
    compat.prepare()
    model, _ = load_model(Path(spec["model_dir"]))
    generator = BatchGenerator(model, prefill_step_size=spec["prefill_step_size"],
                               prefill_batch_size=spec["max_rows"], completion_batch_size=spec["max_rows"])
    rows = spec["rows"]
    logits, tokens, numbers = [[] for _ in rows], [[] for _ in rows], {}
    turn = joined = 0
    while True:
        while joined < len(rows) and rows[joined]["join"] <= turn:
            numbers[_insert(generator, rows[joined], logits[joined])] = joined
            joined += 1
        prompts, generated = generator.next()
        for response in generated:
            tokens[numbers[response.uid]].append(int(response.token))
        turn += 1
        if joined == len(rows) and not prompts and not generated:
            break
    generator.close()
    for row, chosen in zip(rows, tokens):
        if len(chosen) != row["steps"]:
            raise RuntimeError(f"expected {row['steps']} tokens, saw {len(chosen)}")
    arrays = {}
    for number, (row, seen) in enumerate(zip(rows, logits)):
        # The loop dispatches one step more than it yields.
        kept = mx.stack(seen[:row["steps"]])
        arrays[f"row{number}.logits"] = (raw.dtype_name(kept), raw.to_numpy(kept))
    return tokens, arrays


def _insert(generator, row, seen):
    def note(_, logits):
        seen.append(logits[0])
        return logits

    _, processors = trace.samplers(row["sampling"])
    # No stop tokens: rows leave by length.
    return generator.insert([row["prompt"]], [row["steps"]], logits_processors=[[note, *processors]])[0]
