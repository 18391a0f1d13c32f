#!/usr/bin/env python3
"""Writes tokenizer_oracle.json: what the `tokenizers` package makes of text that tokenizer_oracle_test.cc generates again.

usage: make_text_oracle.py MODEL.gguf tokenizer_oracle.json
needs: pip install tokenizers gguf

The file keeps digests of the ids, not the ids; the generator is simple enough to be the same in both languages. See
compare_with_hf.py for the comparison that shows differences.
"""
import json
import struct
import sys

import hf_tokenizer
import text_samples

MASK = (1 << 64) - 1
BLOCK = 4096      # code points in one digest
GROUP = 100       # strings in one digest
STRINGS = 10000
# What each code point is put into: alone it shows the bytes, in company it shows its class.
FRAMES = ["{}", "a{}b", " {}1 x", "x  {}  '{}s"]


class Random:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n


class Digest:
    """FNV-1a, 64 bits."""

    def __init__(self):
        self.value = 0xCBF29CE484222325

    def add(self, ids):
        for byte in struct.pack("<%dI" % (len(ids) + 1), *ids, 0xFFFFFFFF):
            self.value = ((self.value ^ byte) * 0x100000001B3) & MASK

    def hex(self):
        return "%016x" % self.value


def sample(rng, tables):
    out = []
    for _ in range(1 + rng.below(24)):
        if rng.below(10) < 4:
            part = tables["words"][rng.below(len(tables["words"]))]
        else:
            low, high = tables["ranges"][rng.below(len(tables["ranges"]))]
            part = "".join(chr(low + rng.below(high - low + 1)) for _ in range(1 + rng.below(9)))
        if rng.below(10) == 0:
            part *= 2 + rng.below(11)
        out.append(part + tables["glue"][rng.below(len(tables["glue"]))])
    return "".join(out)


def sample_bytes(rng, tables):
    if rng.below(2):
        return bytes(rng.next() & 255 for _ in range(rng.below(80)))
    data = bytearray(sample(rng, tables).encode("utf-8"))
    for _ in range(1 + rng.below(6)):
        byte = rng.next() & 255
        data[rng.below(len(data))] = byte
    return bytes(data[:1 + rng.below(len(data))])


def digests(tokenizer, strings, group):
    out = []
    for begin in range(0, len(strings), group):
        digest = Digest()
        for encoding in tokenizer.encode_batch(strings[begin:begin + group], add_special_tokens=False):
            digest.add(encoding.ids)
        out.append(digest.hex())
    return out


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    model = hf_tokenizer.Model(sys.argv[1])
    plain, recognising = model.tokenizer(specials=False), model.tokenizer()
    ranges = [r for name in sorted(text_samples.SCRIPTS) if name != "any" for r in text_samples.SCRIPTS[name]]
    tables = {"words": [w for w in text_samples.WORDS if w], "glue": text_samples.GLUE, "ranges": ranges,
              "specials": [t for t, kind in zip(model.tokens, model.types) if kind == hf_tokenizer.CONTROL]}
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]

    rng = Random(1)
    strings = [sample(rng, tables) for _ in range(STRINGS)]
    rng = Random(2)
    byte_strings = [sample_bytes(rng, tables) for _ in range(STRINGS)]
    rng = Random(3)
    with_specials = [a + tables["specials"][rng.below(len(tables["specials"]))] + b for a, b in zip(strings, strings[1:])]
    oracle = {
        "about": "made by make_text_oracle.py from the default model's tokenizer",
        "vocabulary": len(model.tokens), "tables": tables, "block": BLOCK, "group": GROUP, "strings": STRINGS,
        "frames": FRAMES,
        "code_points": [digests(plain, [f.replace("{}", c) for c in points], BLOCK) for f in FRAMES],
        "texts": digests(plain, strings, GROUP),
        "bytes": digests(plain, [b.decode("utf-8", "replace") for b in byte_strings], GROUP),
        "specials": digests(recognising, with_specials, GROUP),
        "examples": [[s, plain.encode(s).ids] for s in strings[:20]],
    }
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(oracle, file, ensure_ascii=True, indent=0, separators=(",", ":"))


if __name__ == "__main__":
    main()
