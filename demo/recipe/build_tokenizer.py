"""Trains the byte-level BPE tokenizer on generated text and writes the model folder's tokenizer files.

Run: python build_tokenizer.py [--seed 1] [--conversations 40000] [--out ../model]
"""

import argparse
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import corpus
import render

VOCAB = 1536
MARKERS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_response>", "</tool_response>"]
# Words keep their leading space, digits stand alone so that sums can be learned.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def texts(seed, count):
    rng, prompt = random.Random(seed), render.make_renderer()
    for _ in range(count):
        case = corpus.example(rng)
        text = prompt(case) + render.completion(case)
        for marker in ["<s>", *MARKERS]:
            text = text.replace(marker, "\n")
        yield text


def build(seed, count):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(MARKERS), special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts(seed, count), trainer)
    tokenizer.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS[:2]])
    tokenizer.add_tokens([AddedToken(m, special=False, normalized=False) for m in MARKERS[2:]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--conversations", type=int, default=40000)
    args.add_argument("--out", type=Path, default=render.MODEL)
    args = args.parse_args()
    tokenizer = build(args.seed, args.conversations)
    assert tokenizer.get_vocab_size() == VOCAB, tokenizer.get_vocab_size()
    tokenizer.save(str(args.out / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    decoder = {str(i): {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized, "rstrip": t.rstrip, "single_word": t.single_word, "special": t.special} for i, t in sorted(added.items())}
    write_json(args.out / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "added_tokens_decoder": decoder, "additional_special_tokens": MARKERS[:2], "bos_token": "<s>", "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "model_max_length": 4096, "pad_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": None})
    write_json(args.out / "special_tokens_map.json", {"additional_special_tokens": MARKERS[:2], "bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"})
    end = tokenizer.token_to_id("<|im_end|>")
    print("vocabulary", tokenizer.get_vocab_size(), "<|im_end|> is", end)


if __name__ == "__main__":
    main()
