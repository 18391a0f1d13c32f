"""llama.cpp compiled for this very processor, through its API: python llama_native.py '{"model": FILE, "threads": 2,
"tokens": N}'. Prints "ready"; reads lines of JSON, {"prompt": [token, ...], "steps": N}, and answers each with the seconds
of the prompt and of the steps after it. Nothing is sampled: the steps compute given tokens, which is a little less than serving."""
import json
import sys
import time

import llama_cpp

settings = json.loads(sys.argv[1])
model = llama_cpp.Llama(settings["model"], n_ctx=settings["tokens"], n_threads=settings["threads"],
                        n_threads_batch=settings["threads"], verbose=False)
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    model.reset()
    start = time.perf_counter()
    model.eval(asked["prompt"])
    between = time.perf_counter()
    for i in range(asked["steps"]):
        model.eval([asked["prompt"][i % len(asked["prompt"])]])
    print(json.dumps({"prompt_s": between - start, "steps_s": time.perf_counter() - between}), flush=True)
