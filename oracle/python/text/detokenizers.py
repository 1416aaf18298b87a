"""Runs mlx-lm's tokenizer wrapper over small tokenizers, for the engine's tests.

    python detokenizers.py OUT.json

Each model is a directory's files, texts with their ids, and token streams with what
`last_segment` gives after every token and after `finalize`. Streams on which the reference
itself fails are left out.
"""

import argparse
import json
import logging
import pathlib
import random
import tempfile

from mlx_lm import tokenizer_utils
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Hello world, how are you?",
    "  two leading spaces",
    " one",
    "\n\nlines\n  and\ttabs \n",
    "\u4f60\u597d\u4e16\u754c\uff01\u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e8\U0001f1ed\U0001f44b\U0001f3fd!",
    "e\u0301 n\u0303 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "a b  c   d",
    "<think>\nso</think> <|end|>done",
    "\u00a0\u2003\u200b\ufeff\ufffd|\x00|\x7f|\u2581|\u0120",
    "def f(x):\n    return x ** 2  # na\u00efve",
    "don't it's we're . , ? !",
    "",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<think>", "</think>", "<|end|>"]


def train(tokenizer, **more):
    trainer = trainers.BpeTrainer(special_tokens=SPECIAL, show_progress=False, **more)
    tokenizer.train_from_iterator([t.replace("\x00", "") for t in TEXTS * 3], trainer)


def byte_level():
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    train(tokenizer, vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_tokens([AddedToken("\u4f60\u597d raw", normalized=False), AddedToken("\ufffd", normalized=False), AddedToken(" ", normalized=False), AddedToken("\u0120\u0120", normalized=False)])
    return tokenizer


def byte_fallback(strip):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    alphabet = sorted(set("".join(TEXTS[:4] + TEXTS[7:9]).replace(" ", "\u2581")))
    train(tokenizer, vocab_size=len(SPECIAL) + len(alphabet) + 30, limit_alphabet=len(alphabet), initial_alphabet=alphabet)
    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    content["model"]["vocab"] = vocab
    return Tokenizer.from_str(json.dumps(content))


def word_piece():
    vocab = SPECIAL + ["[CLS]", "hello", "world", ",", ".", "?", "!", "'", "##s", "##ing", "it", "don", "t", "n't", "a", "b", "\n", "\u4f60", "##\u597d", "re", "'re", "do"]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocab)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def metaspace():
    tokenizer = byte_fallback(True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    return tokenizer


MODELS = {
    "byte_level": (byte_level, {"bos_token": "<s>", "eos_token": "</s>"}),
    "byte_fallback": (lambda: byte_fallback(True), {"eos_token": "</s>"}),
    "byte_fallback_keep_space": (lambda: byte_fallback(False), {"eos_token": "<|end|>"}),
    "word_piece": (word_piece, {"eos_token": "</s>", "clean_up_tokenization_spaces": True}),
    "word_piece_raw": (word_piece, {"eos_token": "</s>"}),
    "metaspace": (metaspace, {"eos_token": "</s>"}),
}


def byte_ids(tokenizer):
    """The id of every single byte, where the vocabulary has them."""
    vocab = tokenizer.get_vocab()
    letters = tokenizer_utils._byte_decoder()
    ids = {}
    for token, i in vocab.items():
        if len(token) == 1 and token in letters:
            ids.setdefault(letters[token], i)
    for byte in range(256):
        if f"<0x{byte:02X}>" in vocab:
            ids[byte] = vocab[f"<0x{byte:02X}>"]
    return ids if len(ids) == 256 else {}


def streams(name, tokenizer, rng):
    n = len(tokenizer)
    out = [tokenizer.encode(t, add_special_tokens=False) for t in TEXTS[:-1]]
    raw = byte_ids(tokenizer)
    if raw:
        cut = "\U0001f600\u4f60\u00e9".encode()
        out += [[raw[b] for b in cut[:k]] for k in (1, 3, 6, 8)]
        out.append([raw[b] for b in b"\xff\xfe\x80a\xe4\xbd\xf0\x9f\x98\xc3\x28\xed\xa0\x80\xf4\x90\x80\x80b\xef\xbf\xbd\xc0\x80 \xe2\x96\x81"])
        out.append([raw[b] for b in b"   a  \x00 \x00\xe4\x00 "])
        out.append([raw[b] for b in b"  "])
        out += [[raw[rng.randrange(256)] for _ in range(30)] for _ in range(3)]
    out += [[rng.randrange(n) for _ in range(25)] for _ in range(4)]
    if name == "byte_level":
        out += [[n, n + 5, 20, n + 1], [n + 100, 30]]
    return out


def run(wrapper, ids):
    detokenizer = wrapper.detokenizer
    segments = []
    for token in ids:
        detokenizer.add_token(token)
        segments.append(detokenizer.last_segment)
    detokenizer.finalize()
    return segments + [detokenizer.last_segment]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    result = {}
    for name, (make, config) in MODELS.items():
        rng = random.Random(name)
        files = {
            "tokenizer.json": json.loads(make().to_str()),
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **config},
            "config.json": {"eos_token_id": 3},
            "generation_config.json": {"eos_token_id": [4, 5]},
        }
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for file, content in files.items():
                (folder / file).write_text(json.dumps(content))
            wrapper = tokenizer_utils.load(folder, eos_token_ids=[4, 5])
        cases = []
        for ids in streams(name, wrapper, rng):
            try:
                cases.append([ids, run(wrapper, ids)])
            except Exception as error:
                print(f"{name}: left out, the reference fails: {error!r}")
        result[name] = {
            "files": files,
            "detokenizer": type(wrapper.detokenizer).__name__,
            "eos": sorted(wrapper.eos_token_ids),
            "vocab_size": len(wrapper),
            "thinking": [wrapper.think_start, wrapper.think_end],
            "texts": [[t, wrapper.encode(t), wrapper.encode(t, add_special_tokens=False)] for t in TEXTS],
            "decoded": [wrapper.decode(ids) for ids, _ in cases],
            "pieces": [wrapper.convert_ids_to_tokens(i) for i in range(0, len(wrapper), 7)],
            "streams": cases,
        }
    temporary = args.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n")
    temporary.replace(args.out)


if __name__ == "__main__":
    main()
