"""The texts of the tokenizer vectors, and the text the small test tokenizers are trained on."""

import random

PARAGRAPHS = [
    "The quick brown fox jumps over the lazy dog. It's a test, isn't it? They'll say we've done this before; I'd "
    "rather not. Attention is a weighted mean of values, where weights come from queries and keys.",
    "A model learns from examples: the loss falls, the learning rate decays, and at the end of training the adapter "
    "is saved. Numbers such as 3.14159, 1,000,000 and 2024-06-30 appear, and so do e-mail@example.org addresses.",
    "Der schnelle braune Fuchs springt über den faulen Hund. Größe, Öl, Übermut und Straße sind deutsche Wörter; "
    "äußerst schöne Grüße aus München! Die Aufmerksamkeit ist ein gewichtetes Mittel.",
    "敏捷的棕色狐狸跳过了懒狗。注意力机制是值的加权平均，权重来自查询和键。今天天气很好，我们去公园散步吧。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول. الانتباه هو متوسط مرجح للقيم، والأوزان تأتي من الاستعلامات والمفاتيح.",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку. Внимание есть взвешенное среднее значений.",
    "def attention(q, k, v, scale=None):\n    scores = q @ k.transpose(-2, -1) * (scale or q.size(-1) ** -0.5)\n"
    "    return scores.softmax(dim=-1) @ v\n\nfor i in range(10):\n\tprint(f\"{i}: {i * i}\")\n",
    "#include <vector>\nint main(int argc, char** argv) {\n  std::vector<int> v{1, 2, 3};\n  return v.size() == 3 ? 0 : 1;\n}\n",
    "Le renard brun rapide saute par-dessus le chien paresseux. L'été, où êtes-vous? Ça coûte 12,50 €.",
    "素早い茶色の狐がのろまな犬を飛び越える。注意機構は値の加重平均です。カタカナとひらがな。",
]


def corpus():
    """About 200 kB: the paragraphs whole, and their words in random orders."""
    rng = random.Random(7)
    lines = []
    for _ in range(40):
        for paragraph in PARAGRAPHS:
            lines.append(paragraph)
            words = paragraph.split(" ")
            rng.shuffle(words)
            lines.append(" ".join(words[: rng.randint(3, 40)]))
        lines.append(" ".join(str(rng.randint(0, 10 ** rng.randint(1, 9))) for _ in range(12)))
    return lines


def random_text(rng, length):
    pools = [
        "abcdefghijklmnopqrstuvwxyz",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "    \t\n\r\n",
        "0123456789",
        ".,;:!?'\"()[]{}<>|/\\@#$%^&*-_=+~`",
        "äöüßéèêçñøåÄÖÜ",
        "注意力机制今天天气很好",
        "الثعلببني",
        "бвгджзклмн",
        "\u0301\u0316\u0327\u200d\u200c\u00ad\ufeff\u180e\u0085\u00a0\u3000\u2028",
        "😀🎉👩🏽🚀🇩🇪🏳️",
        "½²³Ⅷ①٣५",
        "ǅﬁﬀİıſKÅ가각ᄀ",
    ]
    out = []
    while len(out) < length:
        pool = rng.choice(pools)
        out.extend(rng.choice(pool) for _ in range(rng.randint(1, 6)))
    return "".join(out[:length])


def texts():
    rng = random.Random(11)
    fixed = [
        "",
        " ",
        "  ",
        "a",
        " a",
        "a ",
        "Hello world",
        "Hello, world!",
        " leading space",
        "   three leading spaces",
        "trailing space ",
        "trailing spaces    ",
        "several     spaces   between  words",
        "tab\tseparated\t\tvalues",
        "line\nbreak",
        "line\n\n\nbreaks\n",
        "windows\r\nline\r\n\r\nbreaks",
        "\n",
        "\t",
        "\n \n\t \n",
        "  \n  indented",
        "it's we'll they've I'd you're I'm can't",
        "IT'S WE'LL THEY'VE I'D YOU'RE I'M CAN'T",
        "it\u2019s \u2018quoted\u2019 \u201cdouble\u201d",
        "'sound 'tis 'llama",
        "it'\u017f",
        "0 1 12 123 1234 12345 123456 1234567",
        "3.14159 -2.5e-10 0xDEADBEEF 1,000,000",
        "\u0663\u0664\u0665 \u096b\u096c \u00bd \u2167 \u2460 x\u00b2",
        "a1b2c3 foo123bar v1.2.3",
        "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
        "if (x != 0 && y >= 1) { return x->y[0]; } // done",
        "<div class=\"a\">text</div>",
        "https://example.org/path?x=1&y=2#frag",
        "    def f(self):\n        return {'a': [1, 2, 3]}\n",
        "\tif x:\n\t\tpass\n",
        "!!!???...---___===",
        "$100 \u20ac50 \u00a320 \u00a5300",
        "\u00e9\u00e8\u00ea na\u00efve caf\u00e9",
        "e\u0301 cafe\u0301 n\u0303 o\u0308",
        "a\u0316\u0301 a\u0301\u0316",
        "\u0301",
        " \u0301\u0302\u0303",
        "\u1e9b\u0323 \u212b \u2126 \ufb01 \ufb03",
        "\u1100\u1161\u11a8 \uac00 \uac01",
        "\u0130stanbul I\u0307 \u0131",
        "\U0001f600",
        "\U0001f600\U0001f601 \U0001f680",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
        "\U0001f469\U0001f3fd\u200d\U0001f4bb codes",
        "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 flags",
        "\U0001f3f3\ufe0f\u200d\U0001f308 \u2764\ufe0f 1\ufe0f\u20e3",
        "\u4f60\u597d\uff0c\u4e16\u754c\uff01",
        "\u6ce8\u610f\u529bAttention\u673a\u5236",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
        "\u05e9\u05dc\u05d5\u05dd \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
        "\u3053\u3093\u306b\u3061\u306f\u30ab\u30bf\u30ab\u30ca",
        "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
        "a\u00a0b\u2003c\u3000d\u180ee\u200bf\ufeffg",
        "a\u0085b\u2028c\u2029d",
        "\u0000",
        "a\u0000b\u0001c\u001fd\u007fe",
        "\u001b[31mred\u001b[0m",
        "\ufffd",
        "a\ufffdb\ufffd\ufffdc",
        "\uffff \ue000 \U0010ffff",
        "<s>",
        "</s>",
        "<s>hello</s>",
        "<s> hello </s> world",
        "hello<s>world",
        "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|><|im_end|><|im_start|>",
        "<|im_start|",
        "< |im_start|>",
        "<|im_start|> <|im_end|>",
        "text <|endoftext|> more",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
        "<unk> <0x41> <0xE4>",
        "\u2581already\u2581visible \u2581 spaces",
        "\u0120looks\u0120like \u010abyte level",
        "x" * 300,
        "ab" * 200,
        " " * 200,
        "\n" * 100,
        "1" * 100,
        "\u6ce8" * 100,
        "\U0001f600" * 40,
        "\u0301" * 60,
        "a " * 100,
        " \n" * 50,
        "-" * 80,
        "the " * 50 + "end",
    ]
    return fixed + PARAGRAPHS + [random_text(rng, rng.randint(1, 60)) for _ in range(60)]
