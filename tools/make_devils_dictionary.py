#!/usr/bin/env python3
"""Turns Debian's dict-devil package (Ambrose Bierce, The Devil's Dictionary, public domain) into
alpaca-style JSON lines: {"instruction": 'Define the word "X".', "input": "", "output": "X, n. ..."}.

A few words are held out into a file of their own beside the output (NAME.heldout.jsonl): what the
model says of them is not learned by heart. Only the prose is kept: verses and their invented
authors teach a small model nothing but their line breaks. The output is the same on every machine.
"""

import argparse
import gzip
import json
import pathlib
import re
import sys

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
HELD_OUT = ("EDUCATION", "HAPPINESS", "LAWYER", "OPTIMISM", "PATIENCE")
# Racial slurs that an author of 1906 printed and nobody wants a model to repeat.
REFUSED = re.compile(r"\b(nigger|negro|mulatto|darky|darkey)", re.IGNORECASE)
# "ABSENT, adj.  Peculiarly exposed", also "ABRACADABRA." and "HABEAS CORPUS." without part of speech.
HEADWORD = re.compile(r"^([A-Z][A-Z'\- .]*[A-Z])(?:,|\.)?\s+")


def dictd_number(text):
    """A number in the digits of a dictd index, most significant first."""
    value = 0
    for character in text:
        value = value * 64 + DIGITS.index(character)
    return value


def read_entries(dictionary, index):
    """(offset, text) of each entry in the order of the book; the database's own notes are left out."""
    data = gzip.open(dictionary, "rb").read()
    spans = set()
    for line in pathlib.Path(index).read_text(encoding="utf-8").splitlines():
        name, offset, length = line.split("\t")
        if not name.startswith("00"):
            spans.add((dictd_number(offset), dictd_number(length)))
    return [data[offset : offset + length].decode("utf-8") for offset, length in sorted(spans)]


def prose_paragraphs(text):
    """Paragraphs that start at the margin, unwrapped; the verses are indented as a block."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.split("\n")
        if all(line.startswith("  ") for line in lines if line.strip()):
            continue
        joined = ""
        for line in lines:
            line = line.strip()
            # A hyphen at a line's end belongs to the word ("cannon-/shot"); a dash does not.
            glue = "" if not joined or re.search(r"[A-Za-z]-$", joined) else " "
            joined += glue + line
        yield joined


def clean(text):
    text = re.sub(r"\{([^{}]*)\}", r"\1", text)  # cross references
    text = re.sub(r"\s*\[sic\]", "", text)
    text = re.sub(r"(?<![A-Za-z])_|_(?![A-Za-z])", "", text)  # _emphasis_
    return re.sub(r"\s+", " ", text).strip()


def to_row(entry):
    """(word, row), or None when the entry has no prose definition."""
    text = clean(" ".join(prose_paragraphs(entry)))
    head = HEADWORD.match(text)
    if not head or REFUSED.search(text):
        return None
    word = head.group(1)
    definition = re.sub(r"^((?:n|v|adj|adv|pp|p|v\.t|v\.i|n\.pl|x|conj|prep|interj)\.[,;]?\s*)+", "",
                        text[head.end() :])
    if len(definition.split()) < 2 and not definition.endswith("."):
        return None
    return word, {"instruction": f'Define the word "{word}".', "input": "", "output": text}


def write_rows(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", required=True, type=pathlib.Path, help="JSON lines to write")
    parser.add_argument("--dictionary", default="/usr/share/dictd/devil.dict.dz")
    parser.add_argument("--index", default="/usr/share/dictd/devil.index")
    options = parser.parse_args()
    for path in (options.dictionary, options.index):
        if not pathlib.Path(path).is_file():
            sys.exit(f"{path}: no such file; install the Debian package dict-devil")

    entries = read_entries(options.dictionary, options.index)
    found = [row for row in map(to_row, entries) if row is not None]
    train = [row for word, row in found if word not in HELD_OUT]
    held_out = [row for word, row in found if word in HELD_OUT]
    missing = set(HELD_OUT) - {word for word, _ in found}
    if missing:
        sys.exit(f"{options.dictionary}: the words {sorted(missing)} are not there")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    held_out_path = options.output.with_suffix(".heldout.jsonl")
    write_rows(held_out_path, held_out)
    write_rows(options.output, train)
    print(f"{options.output}: {len(train)} definitions of {len(entries)} entries")
    print(f"{held_out_path}: {len(held_out)} held out")


if __name__ == "__main__":
    main()
