"""Prompts for comparing answers: English, code, CJK, emoji; from one token to about 2,000."""

ENGLISH = ("The history of computing is full of machines that were built for one purpose and then used for another. "
           "A loom read patterns from cards; a census counted people from cards; and later a program did. ")
CODE = ("def merge(left, right):\n    result = []\n    while left and right:\n        if left[0] <= right[0]:\n"
        "            result.append(left.pop(0))\n        else:\n            result.append(right.pop(0))\n"
        "    return result + left + right\n\n")
CJK = "大規模な言語モデルは、次の単語を予測することで文章を書きます。今天天气很好，我们去公园散步吧。한국어 문장도 하나 넣습니다. "
EMOJI = "🚀🔥 Launch day! 🎉👩‍🚀 Everyone is 😀 and the 🌍 watches 👀. "

PROMPTS = {
    "one-token": "The",
    "short": "Once upon a time",
    "fifteen-words": "The quick brown fox jumps over the lazy dog and then runs into the dark forest",
    "question": "Q: What is the capital of France?\nA:",
    "list": "Three primary colours are:\n1.",
    "numbers": "1, 1, 2, 3, 5, 8, 13, 21,",
    "json": '{"name": "Ada", "born": 1815, "known_for": ["',
    "spaces": "   a   b\t\tc\n\n\n   d",
    "english-1": ENGLISH,
    "english-4": ENGLISH * 4,
    "english-12": ENGLISH * 12,
    "english-40": ENGLISH * 40,
    "code-1": CODE,
    "code-3": CODE * 3,
    "code-9": CODE * 9,
    "cjk-1": CJK,
    "cjk-4": CJK * 4,
    "cjk-10": CJK * 10,
    "emoji-1": EMOJI,
    "emoji-6": EMOJI * 6,
    "mixed": ENGLISH + CODE + CJK + EMOJI,
    "mixed-5": (ENGLISH + CODE + CJK + EMOJI) * 5,
}
