#!/usr/bin/env python3
"""Compares our tokenizer with the `tokenizers` package, built from the same GGUF file, and prints the figures.

usage: compare_with_hf.py MODEL.gguf path/to/tandem_tokenize_lines
needs: pip install tokenizers gguf
"""
import random
import struct
import subprocess
import sys
import unicodedata

import hf_tokenizer
import text_samples


def ours(program, model, pre, mode, items, item_format, result_format):
    frames = b"".join(struct.pack("<I", len(item)) + (item if item_format == "B" else struct.pack("<%di" % len(item), *item))
                      for item in items)
    out = subprocess.run([program, model, mode, pre], input=frames, stdout=subprocess.PIPE, check=True).stdout
    results, pos = [], 0
    while pos < len(out):
        (count,) = struct.unpack_from("<I", out, pos)
        pos += 4
        if result_format == "B":
            results.append(out[pos:pos + count])
            pos += count
        else:
            results.append(list(struct.unpack_from("<%di" % count, out, pos)))
            pos += 4 * count
    if len(results) != len(items):
        raise SystemExit("%d results for %d items" % (len(results), len(items)))
    return results


class Comparison:
    def __init__(self, program, model, pre):
        self.program, self.model, self.pre, self.failures = program, model, pre, 0

    def ours(self, mode, items, item_format, result_format):
        return ours(self.program, self.model, self.pre, mode, items, item_format, result_format)

    def check(self, what, items, expected, actual):
        wrong = [i for i in range(len(items)) if expected[i] != actual[i]]
        self.failures += len(wrong)
        print("%-58s %8d compared, %d differ" % (what, len(items), len(wrong)))
        for i in wrong[:3]:
            print("   %r\n   expected %s\n   got      %s" % (items[i], expected[i], actual[i]))

    def encode(self, what, mode, strings, tokenizer):
        expected = [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]
        actual = self.ours(mode, [s.encode("utf-8") for s in strings], "B", "i")
        self.check(what, strings, expected, actual)
        return expected

    def decode(self, what, mode, sequences, tokenizer):
        skip = mode == "decode"
        expected = [tokenizer.decode(ids, skip_special_tokens=skip) for ids in sequences]
        actual = [b.decode("utf-8") for b in self.ours(mode, sequences, "i", "B")]
        self.check(what, sequences, expected, actual)


def code_points():
    """Every code point that is no surrogate; those that Python's Unicode does not know are compared as well."""
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def with_specials(rng, strings, specials):
    out = []
    for s in strings:
        cut = rng.randint(0, len(s))
        token = rng.choice(specials)
        if rng.random() < 0.2:
            token = token[:rng.randint(1, len(token))] + rng.choice(specials)
        out.append(s[:cut] + token + s[cut:])
    return out


def split_at_random(rng, s):
    """The string with 0xFF marks between untrusted and trusted parts."""
    cuts = sorted(rng.randint(0, len(s)) for _ in range(rng.randint(0, 6)))
    parts = [s[a:b] for a, b in zip([0] + cuts, cuts + [len(s)])]
    return b"\xff".join(p.encode("utf-8") for p in parts)


def compare(path, program, pre):
    """Everything with one pre-tokenizer; returns the number of differences."""
    model = hf_tokenizer.Model(path, pre)
    print("pre-tokenizer " + pre)
    recognising, plain = model.tokenizer(), model.tokenizer(specials=False)
    specials = [t for t, kind in zip(model.tokens, model.types) if kind == hf_tokenizer.CONTROL]
    rng = random.Random(7)
    comparison = Comparison(program, path, pre)

    points = code_points()
    assigned = sum(unicodedata.category(c) != "Cn" for c in points)
    print("code points: %d, of them %d assigned in Unicode %s" % (len(points), assigned, unicodedata.unidata_version))
    comparison.encode("every code point alone", "plain", points, plain)
    comparison.encode("every code point between letters", "plain", ["a" + c + "b" for c in points], plain)
    comparison.encode("every code point after a space, before a digit", "plain", [" " + c + "1 x" for c in points], plain)
    comparison.encode("every code point among spaces", "plain", ["x  " + c + "  '" + c + "s" for c in points], plain)

    strings = text_samples.texts(10000, seed=1)
    ids = comparison.encode("10,000 strings of many scripts", "plain", strings, plain)
    comparison.decode("their ids decoded", "decode", ids, recognising)

    mixed = with_specials(rng, strings, specials)
    comparison.encode("the same with special tokens, recognised", "trusted", mixed, recognising)
    comparison.encode("the same with special tokens, as plain text", "plain", mixed, plain)

    marked = [split_at_random(rng, s) for s in strings]
    actual = comparison.ours("segments", marked, "B", "i")
    comparison.check("the same cut into trusted and untrusted parts", strings, ids, actual)

    byte_strings = text_samples.random_bytes(10000, seed=2)
    expected = [e.ids for e in plain.encode_batch([b.decode("utf-8", "replace") for b in byte_strings])]
    actual = comparison.ours("plain", byte_strings, "B", "i")
    comparison.check("10,000 byte strings, random and damaged UTF-8", byte_strings, expected, actual)

    sequences = [[rng.randrange(len(model.tokens)) for _ in range(rng.randint(0, 60))] for _ in range(10000)]
    sequences += [[i] for i in range(len(model.tokens))]
    comparison.decode("random ids and every id alone, without special tokens", "decode", sequences, recognising)
    comparison.decode("random ids and every id alone, with special tokens", "decode-all", sequences, recognising)

    long_texts = ["a" * 3000, " " * 5000, "ab" * 4000, "\n" * 2000 + "x", "0" * 999, "!" * 4097, "你" * 2000, "a b" * 3000,
                  "".join(text_samples.characters(rng, "latin", 20000)), "'" * 777 + "s", "\u00a0" * 1000, "e\u0301" * 2000]
    comparison.encode("long words", "plain", long_texts, plain)
    return comparison.failures


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    failures = sum(compare(sys.argv[1], sys.argv[2], pre) for pre in ("smollm", "gpt-2"))
    print("agree" if failures == 0 else "%d DIFFERENCES" % failures)
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
