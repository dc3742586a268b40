"""Trains the small tokenizers of this folder and writes their vectors with Hugging Face `tokenizers`.

Needs `pip install tokenizers sentencepiece gguf transformers`. Run in this folder: python3 make_vectors.py
The result is committed, so tests need none of these.
"""

import io
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vector_texts import corpus, texts

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL


def train_byte_level(pre_tokenizer, normalizer, specials, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=specials, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    return json.loads(tokenizer.to_str())


def words(regex):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex), "isolated", False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def gpt2():
    tokenizer = train_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), None, ["<|endoftext|>"], 1500)
    # The old way to write merges.
    tokenizer["model"]["merges"] = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    return tokenizer


def llama3():
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = Tokenizer.from_str(json.dumps(train_byte_level(words(LLAMA3), None, specials, 1500)))
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
                                      special_tokens=[("<|begin_of_text|>", 0)]),
    ])
    out = json.loads(tokenizer.to_str())
    out["model"]["ignore_merges"] = True
    # A token that no chain of merges reaches, as ignore_merges is for.
    token = "\u0120unreachable"
    out["model"]["vocab"][token] = len(out["model"]["vocab"])
    return out


def qwen2():
    return train_byte_level(words(QWEN2), normalizers.NFC(), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], 1500)


def smollm():
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    return train_byte_level(pre, None, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], 1200)


def llama2():
    """SentencePiece-style, as the tokenizer.json of Llama 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=specials, show_progress=False, limit_alphabet=150)
    tokenizer.train_from_iterator(corpus(), trainer)
    out = json.loads(tokenizer.to_str())
    out["added_tokens"] = [t for t in out["added_tokens"] if t["id"] < 3]
    out["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    out["pre_tokenizer"] = None
    out["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    out["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return out


def split(regex, behavior, invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def chain(kind, *items):
    return {"type": "Sequence", kind: list(items)}


def added(id_, content, **flags):
    token = {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
    return {**token, **flags}


def variants(sizes):
    """(base, name, patch): one part of a tokenizer exchanged, the rest as in the base."""
    def pre(*items):
        return {"pre_tokenizer": chain("pretokenizers", *items)}

    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            patch = pre(split(r"[\s,.]", behavior, invert), byte_level())
            yield "gpt2", f"split_{behavior}_{'inverted' if invert else 'plain'}", patch
    yield "gpt2", "split_string", pre({"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext",
                                       "invert": False}, byte_level())
    yield "gpt2", "prefix_space", {"pre_tokenizer": byte_level(True, True)}
    yield "gpt2", "prefix_space_without_regex", {"pre_tokenizer": byte_level(False, True)}
    yield "gpt2", "digits_grouped", pre({"type": "Digits", "individual_digits": False}, byte_level(True))
    yield "gpt2", "whitespace", pre({"type": "Whitespace"}, byte_level())
    yield "gpt2", "whitespace_split", pre({"type": "WhitespaceSplit"}, byte_level())
    yield "gpt2", "punctuation", pre({"type": "Punctuation", "behavior": "Isolated"}, byte_level())
    yield "gpt2", "word_regex", pre(split(r"\w+|\W", "Isolated"), byte_level())
    for form in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"]:
        yield "gpt2", form.lower(), {"normalizer": {"type": form}}
    yield "gpt2", "strip", {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}}
    yield "gpt2", "replace_regex", {"normalizer": chain(
        "normalizers", {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "NFKC"})}
    for scheme in ["always", "first", "never"]:
        for do_split in [True, False]:
            metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": do_split}
            yield "llama2", f"metaspace_{scheme}_{do_split}", {
                "normalizer": None, "pre_tokenizer": metaspace, "decoder": metaspace}
    yield "llama2", "without_byte_fallback", {"model.byte_fallback": False}
    yield "llama2", "unk_not_fused", {"model.byte_fallback": False, "model.fuse_unk": False}
    n = sizes["gpt2"]
    tokens = [added(0, "<|endoftext|>", special=True), added(n, "hello", single_word=True), added(n + 1, "<mask>", lstrip=True),
              added(n + 2, "<sep>", rstrip=True), added(n + 3, "<both>", lstrip=True, rstrip=True),
              added(n + 4, "<|im", special=True), added(n + 5, "<|im_start|>", special=True),
              added(n + 6, "CAF\u00c9", normalized=True), added(n + 7, "caf\u00e9")]
    yield "gpt2", "added_tokens", {"added_tokens": tokens}
    yield "gpt2", "added_tokens_lowercase", {"added_tokens": tokens, "normalizer": {"type": "Lowercase"}}
    m = sizes["llama2"]
    tokens = [added(0, "<unk>", special=True), added(1, "<s>", special=True), added(2, "</s>", special=True),
              added(m, "world", normalized=True), added(m + 1, " fox", normalized=True)]
    yield "llama2", "normalized_added_tokens", {"added_tokens": tokens}
    cls_sep = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
               "add_prefix_space": True}
    yield "llama2", "roberta", {"post_processor": cls_sep}


EXTRA = [
    "hello hellohello hello, xhello helloy say_hello h\u00e9llo hello\u0301",
    "a <mask> b<mask>c  <mask>\n<mask> d", "a <sep> b<sep>c<sep>  \t d", "x  <both>  <both> y<both>",
    "<|im <|im_start|> <|im_start|x", "CAF\u00c9 caf\u00e9 Caf\u00e9 cafe\u0301", "  both ends  ",
    "hello world fox the fox", "<s> world</s> fox world", "a,b,,c.d..e  ,", ",,start", "banana aa", "\u2581x \u2581 y",
]


def apply_patch(base, patch):
    out = json.loads(json.dumps(base))
    for key, value in patch.items():
        if key.startswith("model."):
            out["model"][key[6:]] = value
        else:
            out[key] = value
    return out


def vector(tokenizer, text, special):
    ids = tokenizer.encode(text, add_special_tokens=special).ids
    return {"text": text, "add_special": special, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")


def write_sentencepiece_gguf():
    """A SentencePiece vocabulary with scores as GGUF, and the ids of the SentencePiece library itself."""
    import gguf
    import sentencepiece as spm

    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, vocab_size=1200, model_type="bpe",
                                   byte_fallback=True, character_coverage=0.995, normalization_rule_name="identity",
                                   remove_extra_whitespaces=False, split_digits=True, num_threads=1, minloglevel=2)
    sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
    writer = gguf.GGUFWriter("sentencepiece.gguf", "llama")
    kinds = []
    for i in range(sp.get_piece_size()):
        kinds.append(2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([sp.id_to_piece(i) for i in range(sp.get_piece_size())])
    writer.add_token_scores([sp.get_score(i) for i in range(sp.get_piece_size())])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    # Special tokens in the text and empty texts are HF's and llama.cpp's matter, not SentencePiece's.
    rows = [t for t in texts() if t and "<s>" not in t and "</s>" not in t and "<unk>" not in t and "\u0000" not in t]
    return [{"text": t, "ids": sp.encode(t), "decoded": sp.decode(sp.encode(t))} for t in rows]


def main():
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    built = {"gpt2": gpt2(), "llama3": llama3(), "qwen2": qwen2(), "smollm": smollm(), "llama2": llama2()}
    rows = []
    for name, spec in built.items():
        os.makedirs(name, exist_ok=True)
        with open(f"{name}/tokenizer.json", "w", encoding="utf-8") as out:
            json.dump(spec, out, ensure_ascii=False, separators=(",", ":"))
        tokenizer = Tokenizer.from_str(json.dumps(spec))
        for i, text in enumerate(texts()):
            rows.append({"tokenizer": name, **vector(tokenizer, text, i % 2 == 0)})
        rows.append({"tokenizer": name, **vector(tokenizer, " unreachable word", False)})
    write_lines("vectors.jsonl", rows)
    rows = []
    rng = random.Random(3)
    sizes = {name: len(spec["model"]["vocab"]) for name, spec in built.items()}
    for base, name, patch in variants(sizes):
        tokenizer = Tokenizer.from_str(json.dumps(apply_patch(built[base], patch)))
        chosen = EXTRA + rng.sample([t for t in texts() if len(t) < 90], 18)
        cases = [vector(tokenizer, text, True) for text in chosen]
        rows.append({"base": base, "name": name, "patch": patch, "cases": cases})
    write_lines("parts.jsonl", rows)
    write_lines("sentencepiece.jsonl", write_sentencepiece_gguf())


if __name__ == "__main__":
    main()
