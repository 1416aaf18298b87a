"""mlx-optiq's own `kv-cache` command on given token ids.

It patches mlx-lm for as long as the process lives, so nothing without packed keys and values may run after it.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from unittest import mock

from mlx_lm.utils import load_model

from . import compat


def run(spec):
    """Runs the command once per target; `spec` has `model_dir`, `sequences` (ids), `candidate_bits`, `group_size` and
    `target_bits` (a list). Returns `{"sensitivity": text, "configs": [text, …]}`, the texts of the files it wrote.

    What is measured does not depend on the target, so it is measured once.
    """
    from optiq import cli
    from optiq.core import kv_cache

    compat.prepare()
    sequences, measured = spec["sequences"], []
    measure = kv_cache.measure_kv_sensitivity

    def once(*args, **kwargs):
        if not measured:
            measured.append(measure(*args, **kwargs))
        return measured[0]

    configs, sensitivity = [], None
    with mock.patch("mlx_lm.load", lambda path: (load_model(Path(path))[0], None)), \
            mock.patch.object(kv_cache, "_get_calibration_tokens", lambda *_: sequences), \
            mock.patch.object(kv_cache, "measure_kv_sensitivity", once):
        for target in spec["target_bits"]:
            with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
                cli.kv_cache_cmd.callback(
                    model_path=spec["model_dir"], target_bits=target,
                    candidate_bits=",".join(map(str, spec["candidate_bits"])), n_samples=len(sequences),
                    seq_len=len(sequences[0]), group_size=spec["group_size"], output=out, stream_experts="off")
                configs.append(Path(out, "kv_config.json").read_text())
                sensitivity = Path(out, "kv_sensitivity.json").read_text()
    return {"sensitivity": sensitivity, "configs": configs}
