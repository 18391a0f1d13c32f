"""Builds a `tokenizers.Tokenizer` from what a GGUF file says about its byte-level BPE tokenizer."""
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL, USER_DEFINED = 3, 4


class Model:
    def __init__(self, path, pre=None):
        fields = GGUFReader(path).fields

        def get(name, default=None):
            return fields[name].contents() if name in fields else default

        self.tokens = get("tokenizer.ggml.tokens")
        self.types = get("tokenizer.ggml.token_type")
        self.merges = get("tokenizer.ggml.merges")
        self.pre = pre or get("tokenizer.ggml.pre")
        self.chat_template = get("tokenizer.chat_template", "")
        self.bos = self.tokens[get("tokenizer.ggml.bos_token_id")]
        self.eos = self.tokens[get("tokenizer.ggml.eos_token_id")]
        if get("tokenizer.ggml.model") != "gpt2" or self.pre not in ("smollm", "gpt-2"):
            raise SystemExit("not a byte-level BPE tokenizer that this script knows")

    def tokenizer(self, specials=True):
        """With specials=False no added token is recognised in text."""
        bpe = models.BPE(vocab={token: i for i, token in enumerate(self.tokens)},
                         merges=[tuple(m.split(" ")) for m in self.merges])
        tokenizer = Tokenizer(bpe)
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if self.pre == "smollm":
            words = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
        tokenizer.pre_tokenizer = words
        tokenizer.decoder = decoders.ByteLevel()
        if specials:
            for token, kind in zip(self.tokens, self.types):
                if kind in (CONTROL, USER_DEFINED):
                    added = AddedToken(token, normalized=False, special=kind == CONTROL)
                    (tokenizer.add_special_tokens if kind == CONTROL else tokenizer.add_tokens)([added])
        return tokenizer
