"""The texts of the token-id table."""

TEXTS = [
    "", " ", "  ", "   leading", "trailing   ", "\n", "\n\n", "\r\n", "\t", "a\tb", " \n \n ", "a\n\n\nb", "\u00a0nbsp\u2003em",
    "Hello", "Hello, world!", " Hello", "hello hello  hello   hello", "I'm, you're, it's; we'LL DON'T",
    "The quick brown fox jumps over the lazy dog.", "What is the weather in Paris today?",
    "3.14159", "1234567890", "1,000,000 + 2 = 1000002", "x=1;y=22;z=333", "0x1F 1e-9 -5 +7",
    "def f(a, b=2):\n    return {\"k\": [a, b]}\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n",
    "SELECT * FROM t WHERE a <> 'b' -- c", "http://example.org/path?query=1&other=two#top", "a_b-c.d/e\\f|g~h`i",
    "!!!???...", "()[]{}<>", "\"quoted\" 'single' “curly” ‘s’", "em—dash en–dash … •",
    "café naïve über Ångström", "cafe\u0301 n\u0303", "Straße ẞ ſ ﬁ ﬂ ½ ² ①", "ÀÉÎÕÜ àéîõü", "İstanbul ıi",
    "Привет, мир! Как дела?", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣", "नमस्ते दुनिया १२३", "สวัสดีชาวโลก",
    "你好，世界。", "今天天气怎么样？我们去公园吧。", "こんにちは世界、ｶﾀｶﾅ カタカナ", "안녕하세요 세계", "한글 자모", "𠮷野家 𝒳𝓎𝔃",
    "😀", "😀😃👍", "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈", "🇫🇷🇩🇪", "❤️ ❤ ☺", "text😀text 世界text", "é😀世 界",
    "\u200b\u200d\ufeff", "a\u0000b", "\u0001\u001f\u007f\u0085", "\ufffd\ufffd", "\ue000 \U0010ffff", "▁under▁score▁", "Ġ Ċ Ã©",
    "<s>", "</s>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\nhm\n</think>\n\nYes", "<|im_start|> spaced <|im_end|>",
    "<bos><|turn>user\nHi<turn|>\n<|turn>model\n", "<|channel>thought\n<channel|>", "<0x0A><0xFF>", "<unk><pad>", "<tool_call>{}</tool_call>",
    "<function name=\"get_weather\"><param name=\"city\">Zürich</param></function>", "{\"a\": [1, 2.5, null, true], \"b\": \"c\\n\"}",
    "a" * 70, "ab" * 40, " " * 33, "\n" * 9, "é" * 20, "世" * 20, "😀" * 8, "the " * 30, "1" * 25,
    "ALL CAPS AND lower And Mixed cAsE", "x\u0338 \u0915\u094d\u0937", "line one\nline two\r\nline three\rline four",
]
