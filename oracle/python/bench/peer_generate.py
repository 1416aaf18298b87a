"""mlx-lm's side of one engine run: loads, generates, prints one JSON object.

    python peer_generate.py DIR PROMPT TOKENS
"""

import json
import sys
import time

from mlx_lm import load, stream_generate


def generation(model, tokenizer, prompt, tokens, **options):
    """Text, counts and times of one generation."""
    started = time.perf_counter()
    first = last = None
    count, text = 0, ""
    for response in stream_generate(model, tokenizer, prompt, max_tokens=tokens, **options):
        last = time.perf_counter()
        first = first or last
        count += 1
        text += response.text
    return {"text": text, "prompt_tokens": response.prompt_tokens, "generated_tokens": count,
            "prefill_seconds": first - started, "decode_seconds": last - first}


def main():
    folder, prompt, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    model, tokenizer = load(folder)
    print(json.dumps(generation(model, tokenizer, prompt, tokens)))


if __name__ == "__main__":
    main()
