"""Tiny trained tokenizers, one per kind of decoder that mlx-lm tells apart."""

import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

CHATML = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
MARKUP = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
TURNS = ["<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|tool>",
         "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>', "<|think|>"]
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")

_WORDS = ("the of and to in is that it was for on are with as his they be at one have this from or had by "
          "hot but some what there we can out other were all your when up use word how said an each she "
          "weather city temperature function name parameter value answer question number table").split()
_LINES = [
    "def main():\n    return {\"a\": 1, \"b\": [1, 2, 3]}\n", "for (int i = 0; i < n; ++i) { sum += a[i]; }\n",
    "café naïve über Ångström señor Straße Dvořák", "Привет, мир! Как дела сегодня?", "Γειά σου Κόσμε",
    "你好世界。今天天气怎么样？我们去公园吧。", "こんにちは世界。今日の天気はどうですか。", "안녕하세요 세계",
    "שלום עולם مرحبا بالعالم", "नमस्ते दुनिया", "😀 😃 👍 🎉 👩‍👩‍👧‍👦 🇫🇷 ❤️", "0123456789 3.14159 1,000,000",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz", "http://example.org/path?query=1&other=two#top",
    "<function name=\"get_weather\"><param name=\"city\">Paris</param></function>", "a\tb\r\nc\n\n\nd    e",
]


def corpus():
    """A few hundred seeded lines; the same on every machine."""
    rng = random.Random(20250721)
    lines = []
    for _ in range(300):
        words = [rng.choice(_WORDS) for _ in range(rng.randint(4, 14))]
        lines.append(" ".join(words).capitalize() + rng.choice([".", "?", "!", ",", ";"]))
        if rng.random() < 0.4:
            lines.append(rng.choice(_LINES))
    return lines


def _byte_level(ignore_merges):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640, show_progress=False, special_tokens=CHATML,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(corpus(), trainer)
    tok.add_tokens([AddedToken(t, normalized=False) for t in MARKUP])
    return tok


def byte_level():
    """Byte-level BPE that adds nothing, as Qwen's."""
    return _byte_level(False), {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def byte_level_bos():
    """Byte-level BPE that puts `<s>` first and ignores merges, as MiniCPM5's."""
    tok = _byte_level(True)
    tok.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tok.token_to_id("<s>"))])
    return tok, {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"}


def _byte_fallback(normalizer, pre_tokenizer, strip):
    """BPE over characters with bytes as ordinary tokens; they are placed after the special ones."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizer
    if pre_tokenizer is not None:
        trained.pre_tokenizer = pre_tokenizer
    # Without a pre-tokenizer a line is one word and training would learn whole lines.
    else:
        trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    # Rare characters are left out of the training, so that bytes have to stand in for them.
    lines = ["".join(c for c in line if ord(c) < 0x250 or c in "你好世界") for line in corpus()]
    trained.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=420, show_progress=False, special_tokens=["<unk>"]))
    state = json.loads(trained.to_str())["model"]
    learned = sorted((i, t) for t, i in state["vocab"].items() if t != "<unk>")
    order = TURNS + [f"<0x{i:02X}>" for i in range(256)] + [t for _, t in learned]
    merges = [tuple(m) for m in state["merges"]]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(order)}, merges=merges, unk_token="<unk>",
                               fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizer
    if pre_tokenizer is not None:
        tok.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if strip:
        steps.append(decoders.Strip(" ", 1, 0))
    tok.decoder = decoders.Sequence(steps)
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in TURNS])
    return tok


def spm():
    """Byte-fallback BPE without a dummy prefix, as Gemma's."""
    tok = _byte_fallback(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), False)
    tok.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", tok.token_to_id("<bos>"))])
    return tok, {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def spm_strip():
    """Byte-fallback BPE with a dummy prefix that decoding strips, as Llama-2's."""
    steps = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok = _byte_fallback(steps, None, True)
    return tok, {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def naive():
    """Unigram pieces with a Metaspace decoder, which mlx-lm knows no fast detokenizer for."""
    learned = json.loads(spm()[0].to_str())["model"]["vocab"]
    pieces = [t for t in learned if not t.startswith("<")]
    # Training sums floats in no fixed order; scores by length and rank are as good here.
    vocab = [("<pad>", 0.0), ("<eos>", 0.0), ("<unk>", 0.0)]
    vocab += [(t, -12.0 + 1.5 * len(t) - i / 256) for i, t in enumerate(pieces)]
    tok = Tokenizer(models.Unigram(vocab=vocab, unk_id=2))
    tok.normalizer = normalizers.NFKC()
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.decoder = decoders.Metaspace()
    tok.add_special_tokens(["<pad>", "<eos>", "<unk>"])
    return tok, {"bos_token": None, "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


KINDS = {"byte-level": byte_level, "byte-level-bos": byte_level_bos, "spm": spm, "spm-strip": spm_strip,
         "naive": naive}


def build(_paths):
    """`tokenizers/<kind>/{tokenizer.json,tokenizer_config.json}`."""
    files = {}
    for kind, make in KINDS.items():
        tok, special = make()
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096,
                  "clean_up_tokenization_spaces": False, **special}
        files[f"tokenizers/{kind}/tokenizer.json"] = tok.to_str(pretty=False)
        files[f"tokenizers/{kind}/tokenizer_config.json"] = json.dumps(config, indent=1)
    return files
