"""llama.cpp's server on a free port: python llama_server.py '{"model": FILE, "threads": 2, ...}'. Prints "listening
ADDRESS:PORT" and ends when its standard input does."""
import json
import socket
import sys
from urllib.parse import urlparse

import xllamacpp

settings = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = settings["model"]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.get("threads", 2)
params.n_parallel = settings.get("slots", 8)
params.n_ctx = params.n_parallel * settings.get("tokens_per_slot", 8192)
params.kv_unified = False
for name in ("n_batch", "n_ubatch"):
    if name in settings:
        setattr(params, name, settings[name])
params.hostnames = ["127.0.0.1"]
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    params.port = probe.getsockname()[1]
params.enable_chat_template = False
params.warmup = True
server = xllamacpp.Server(params)
print("listening " + urlparse(server.listening_address).netloc, flush=True)
sys.stdin.read()
