"""llama.cpp compiled for this very processor, through its API: python llama_native.py '{"model": FILE, "threads": 2,
"sequences": N, "tokens": N, "flash": BOOL}', tokens of each sequence. Prints "ready"; reads lines of JSON, {"prompts": [[token, ...],
...], "steps": N}, and answers each with the seconds of the prompts, computed together, and of the steps after them, a token of each
sequence in every step. Nothing is sampled: the steps compute given tokens, which is a little less than serving."""
import json
import sys
import time

import llama_cpp

BATCH = 2048

settings = json.loads(sys.argv[1])
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(settings["model"].encode(), llama_cpp.llama_model_default_params())
params = llama_cpp.llama_context_default_params()
params.n_seq_max = settings["sequences"]
params.n_ctx = settings["sequences"] * settings["tokens"]
params.n_batch = BATCH
params.n_threads = params.n_threads_batch = settings["threads"]
params.flash_attn_type = int(settings["flash"])
params.kv_unified = False
llama = llama_cpp.llama_init_from_model(model, params)
batch = llama_cpp.llama_batch_init(BATCH, 0, 1)


def compute(tokens):
    """Of (token, position, sequence, whether its logits are wanted), in batches."""
    for begin in range(0, len(tokens), BATCH):
        part = tokens[begin:begin + BATCH]
        batch.n_tokens = len(part)
        for i, (token, position, sequence, last) in enumerate(part):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, last
            batch.seq_id[i][0] = sequence
        if llama_cpp.llama_decode(llama, batch):
            sys.exit("llama_decode failed")


print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama), True)
    start = time.perf_counter()
    compute([(token, i, sequence, i == len(prompt) - 1)
             for sequence, prompt in enumerate(asked["prompts"]) for i, token in enumerate(prompt)])
    between = time.perf_counter()
    for step in range(asked["steps"]):
        compute([(prompt[step % len(prompt)], len(prompt) + step, sequence, True) for sequence, prompt in enumerate(asked["prompts"])])
    print(json.dumps({"prompts_s": between - start, "steps_s": time.perf_counter() - between}), flush=True)
