#!/usr/bin/env python3
"""Makes testdata/hf_reference.json: what Hugging Face transformers computes, in float32, with the
dequantized weights of a Llama-architecture GGUF file. hf_parity_test compares Tandem with it.

usage: make_reference.py MODEL.gguf OUT.json
needs: gguf, numpy, torch, transformers
"""

import argparse
import hashlib
import json

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

# Token ids of the SmolLM2 tokenizer, so that the reference does not depend on anyone's tokenizer.
PROMPTS = [
    ("short", [504, 3575, 282, 4649, 314]),
    ("chat", [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018,
              411, 407, 19712, 8182, 2, 198, 1, 4093, 198, 1780, 314, 260, 3995, 3925, 281, 260,
              3693, 817, 47, 2, 198, 1, 520, 9531, 198]),
    ("code", [1604, 3987, 46477, 24, 94, 727, 472, 1620, 14362, 260, 304, 29, 373, 24681, 46477,
              1230, 7996, 198]),
    ("scripts", [15319, 303, 1935, 4770, 662, 1023, 461, 367, 2618, 7274, 257, 30, 216, 14483, 226,
                 7365, 124, 23896, 125, 41671, 221, 26453, 48459, 118, 10391, 228, 34771, 44210,
                 35323, 19076, 15107, 230, 243]),
    ("story", [6403, 1980, 253, 655, 28, 281, 253, 1165, 6560, 418, 260, 3374, 282, 253, 6780,
               6740, 28, 665, 4161, 354, 1573, 9191, 16201, 617, 761, 2093, 2268, 719, 3008, 30,
               1963, 5738, 28, 2107, 28, 897, 9191, 281, 650, 6434, 8976, 418, 260, 1142, 8427, 28,
               284]),
]
GREEDY_TOKENS = 48
TOP = 20
# A prime stride visits ids of every residue and keeps the file small.
VOCABULARY_STRIDE = 127

LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def split_halves(weight, heads):
    """Reorders rows: GGUF rotates (2i, 2i + 1), transformers rotates (i, i + head_dim / 2)."""
    head_dim = weight.shape[0] // heads
    order = np.concatenate([np.arange(0, head_dim, 2), np.arange(1, head_dim, 2)])
    rows = (np.arange(heads)[:, None] * head_dim + order[None, :]).ravel()
    return weight[rows]


def hf_name(gguf_name):
    fixed = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if gguf_name in fixed:
        return fixed[gguf_name]
    _, layer, kind, _ = gguf_name.split(".")
    return f"model.layers.{layer}.{LAYER_TENSORS[kind]}.weight"


def load_model(path):
    reader = GGUFReader(path)

    def field(key):
        return reader.fields["llama." + key].contents()

    heads = field("attention.head_count")
    kv_heads = field("attention.head_count_kv")
    state = {}
    for tensor in reader.tensors:
        weight = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if ".attn_q." in tensor.name:
            weight = split_halves(weight, heads)
        elif ".attn_k." in tensor.name:
            weight = split_halves(weight, kv_heads)
        state[hf_name(tensor.name)] = torch.from_numpy(weight.copy())
    tied = "lm_head.weight" not in state
    vocabulary, hidden = state["model.embed_tokens.weight"].shape
    theta = float(field("rope.freq_base"))
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"), num_attention_heads=heads,
        num_key_value_heads=kv_heads, rms_norm_eps=float(field("attention.layer_norm_rms_epsilon")),
        rope_theta=theta, rope_parameters={"rope_type": "default", "rope_theta": theta},
        max_position_embeddings=field("context_length"), tie_word_embeddings=tied,
        attn_implementation="eager")
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - ({"lm_head.weight"} if tied else set()):
        raise SystemExit(f"tensors do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def greedy(model, prompt):
    """The continuation, how much the best logit led at each step, and all logits along the way."""
    tokens = list(prompt)
    margins = []
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([tokens])).logits[0, -1]
        best = torch.topk(logits, 2)
        margins.append(round(float(best.values[0] - best.values[1]), 5))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt):], margins, model(torch.tensor([tokens])).logits[0].numpy()


def describe(prompt, continuation, margins, logits):
    last = len(prompt) - 1
    positions = sorted({0, last // 2, last, last + GREEDY_TOKENS // 2, last + GREEDY_TOKENS})
    sample = np.arange(0, logits.shape[1], VOCABULARY_STRIDE)
    kept = []
    for position in positions:
        row = logits[position]
        top = np.argsort(-row, kind="stable")[:TOP]
        kept.append({
            "position": position,
            "top_ids": top.tolist(),
            "top_logits": [round(float(row[i]), 4) for i in top],
            "sample_logits": [round(float(row[i]), 4) for i in sample],
        })
    return {"prompt": prompt, "greedy": continuation, "margins": margins, "positions": kept}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation
    model = load_model(arguments.model)
    with open(arguments.model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    result = {"model_sha256": digest, "vocabulary_stride": VOCABULARY_STRIDE, "prompts": []}
    with torch.inference_mode():
        for name, prompt in PROMPTS:
            result["prompts"].append({"name": name, **describe(prompt, *greedy(model, prompt))})
            print(name, "smallest margin", min(result["prompts"][-1]["margins"]), flush=True)
    with open(arguments.out, "w", encoding="ascii") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
