"""The reference's side of one long context: loads, generates, prints one JSON object.

    python peer_context.py DIR TOKENS KV < PROMPT

KV is a case's `kv`: "bf16", {"uniform": …} for mlx-lm's own quantization or {"seq": …} for mlx-optiq's.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlx_lm import load  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from peer_generate import generation  # noqa: E402
from verbatim_oracle import compat, kv  # noqa: E402


def main():
    folder, tokens, setting = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    compat.prepare()
    model, tokenizer = load(folder)
    cache = make_prompt_cache(model)
    with kv.mode(setting) as options:
        found = generation(model, tokenizer, sys.stdin.read(), tokens, prompt_cache=cache, **options)
    print(json.dumps({**found, "kv_bytes": sum(layer.nbytes for layer in cache)}))


if __name__ == "__main__":
    main()
