"""Text for the tokenizer comparison: deterministic, many scripts, with the places where pre-tokenizers differ."""
import random

# Blocks that people write in, as (first, last) code points.
SCRIPTS = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A)], "latin1": [(0xC0, 0xFF)], "latin_ext": [(0x100, 0x24F), (0x1E00, 0x1EFF)],
    "greek": [(0x370, 0x3FF)], "cyrillic": [(0x400, 0x52F)], "armenian": [(0x531, 0x58A)], "hebrew": [(0x591, 0x5F4)],
    "arabic": [(0x600, 0x6FF), (0x750, 0x77F)], "devanagari": [(0x900, 0x97F)], "bengali": [(0x980, 0x9FE)],
    "tamil": [(0xB82, 0xBFA)], "telugu": [(0xC00, 0xC7F)], "thai": [(0xE01, 0xE5B)], "lao": [(0xE81, 0xEDF)],
    "tibetan": [(0xF00, 0xFDA)], "georgian": [(0x10A0, 0x10FF)], "hangul": [(0xAC00, 0xD7A3)], "jamo": [(0x1100, 0x11FF)],
    "ethiopic": [(0x1200, 0x139F)], "cherokee": [(0x13A0, 0x13FD)], "khmer": [(0x1780, 0x17F9)], "mongolian": [(0x1800, 0x18AA)],
    "hiragana": [(0x3041, 0x309F)], "katakana": [(0x30A0, 0x30FF)], "han": [(0x4E00, 0x9FFF)], "han_b": [(0x20000, 0x2A6DF)],
    "emoji": [(0x1F300, 0x1F64F), (0x1F900, 0x1F9FF)], "math": [(0x1D400, 0x1D7FF), (0x2200, 0x22FF)],
    "symbols": [(0x2000, 0x206F), (0x20A0, 0x20BF), (0x2100, 0x214F), (0x2460, 0x24FF)], "private": [(0xE000, 0xE0FF)],
    "gothic": [(0x10330, 0x1034A)], "cuneiform": [(0x12000, 0x1206F)], "digits": [(0x30, 0x39), (0x660, 0x669), (0x966, 0x96F)],
    "numbers": [(0xB2, 0xB3), (0xBC, 0xBE), (0x2150, 0x218B), (0x3220, 0x3229), (0x10107, 0x10133)],
    "punctuation": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x3001, 0x3011)],
    "space": [(0x20, 0x20), (0x09, 0x0D), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200B), (0x3000, 0x3000)],
    "marks": [(0x300, 0x36F), (0xFE00, 0xFE0F), (0x200C, 0x200D)], "any": [(0x1, 0xD7FF), (0xE000, 0x10FFFF)],
}
WORDS = ("the of and don't I'm we'll they've it's you're he'd 'S 'LL can''t http://example.org/a?b=1 foo_bar fooBar __init__ "
         "int main() { return 0; } 3.14159 1,000,000 0x1F -42 e=mc^2 naïve façade Straße München Привет мир 你好 世界 "
         "こんにちは 한국어 مرحبا שלום नमस्ते สวัสดี Ελλάδα 👍🏽 👨‍👩‍👧‍👦 🇩🇪 … — “quoted” ¿qué? ½ ² Ⅳ ①").split(" ")
GLUE = ["", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \t", "\u00a0", "\u3000", "'", "''s", "-", ". ", ", ", " \n ", "    "]


def characters(rng, script, count):
    low, high = rng.choice(SCRIPTS[script])
    out = []
    while len(out) < count:
        code = rng.randint(low, high)
        if not 0xD800 <= code < 0xE000:
            out.append(chr(code))
    return "".join(out)


def text(rng):
    """One string of up to a few hundred characters."""
    names = rng.sample(sorted(SCRIPTS), rng.randint(1, 4))
    parts = []
    for _ in range(rng.randint(1, 24)):
        if rng.random() < 0.4:
            parts.append(rng.choice(WORDS))
        else:
            parts.append(characters(rng, rng.choice(names), rng.randint(1, 9)))
        if rng.random() < 0.1:
            parts.append(parts[-1] * rng.randint(2, 12))
        parts.append(rng.choice(GLUE))
    return "".join(parts)


def texts(count, seed):
    rng = random.Random(seed)
    return [text(rng) for _ in range(count)]


def random_bytes(count, seed):
    """Byte strings: uniform, or UTF-8 with damage."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        if i % 2:
            data = bytearray(text(rng).encode("utf-8"))
            for _ in range(rng.randint(1, 6)):
                if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
            out.append(bytes(data[:rng.randint(0, len(data))]))
        else:
            out.append(bytes(rng.randrange(256) for _ in range(rng.randint(0, 80))))
    return out
