"""How fast streams run once they run: batch 1, 8 and 32 after contexts of 128, 1k and 4k tokens, on one decode worker with two
threads. The prompts are cached after the first round, the rate is counted while all streams run."""
import os

import load
import prompts
import servers
from report import Goal, Row, Table

OUTPUT = 128
LAYER_GOP, HEAD_GOP = 0.2123, 0.0566  # per token of the default model, without attention
KV_BYTES_PER_TOKEN = 23040
GRID = [(1, 128), (1, 1024), (1, 4096), (8, 128), (8, 1024), (8, 4096), (32, 128), (32, 1024), (32, 4096)]
QUICK_GRID = [(1, 128), (1, 1024), (8, 128), (32, 128)]
PEER_TOKENS = 8 * 1024  # more prompt than this takes peers minutes to prefill
PEER_SLOTS = 8
LONG_ROUNDS = 3  # of many long streams; and without a server every round computes its prompt anew


def ceiling(context, streams, tokens):
    """Tokens per second if each step only read the weights and the KV of all streams once, or only multiplied."""
    most = context.machine.ceilings
    step_bytes = os.path.getsize(context.model) + streams * tokens * KV_BYTES_PER_TOKEN
    by_memory = streams * most["read_2"] * 1e9 / step_bytes
    by_products = most["int8_2"] / (LAYER_GOP + HEAD_GOP)
    return min((by_memory, "reading memory, 2 threads"), (by_products, "int8 products, 2 threads"))


def measure(context, server, text, streams, tokens):
    if server.target is None:
        return OUTPUT / server.time([text.tokens(tokens, "decode0")], OUTPUT)[1]
    requests = [load.request(f"s{i}", server, text.tokens(tokens, f"decode{i}"), OUTPUT) for i in range(streams)]
    answers = load.send(context, requests, limit_s=600)
    return load.rate_together(list(answers.values()))


def goals(row, context, streams, tokens):
    if streams != 1 or tokens != 128:
        return []
    same, fastest = (servers.best(row.peers, n) for n in (servers.LLAMA, servers.LLAMA_FASTEST))
    bandwidth = row.ceiling
    found = []
    for name, by_same, by_fastest, share in (("must", 2.2, 1.3, 0.65), ("stretch", 3, 1.8, 0.85)):
        found.append(Goal(name, f"{by_same} x llama.cpp, same file", same and by_same * same))
        found.append(Goal(name, f"{by_fastest} x llama.cpp's fastest form, or {100 * share:.0f} % of the read bandwidth",
                          min(by_fastest * fastest, share * bandwidth) if fastest else share * bandwidth))
    return found


def run(context):
    ours = servers.colocated()
    rows = []
    with servers.running(ours, *servers.peers(context, slots=PEER_SLOTS), *servers.native_peers(context)) as all_servers:
        text = prompts.Prompts(ours.cluster)
        for streams, tokens in QUICK_GRID if context.quick else GRID:
            most = {servers.LlamaApi: 1, servers.Llama: PEER_SLOTS}
            fit = [s for s in all_servers
                   if s is ours or (streams <= most[type(s)] and streams * tokens <= PEER_TOKENS)]
            for server in fit:
                if server.target:  # fills the prefix caches
                    measure(context, server, text, streams, tokens)
            samples = {s.name: [] for s in fit}
            for i in range(context.repeats if streams * tokens <= PEER_TOKENS else LONG_ROUNDS):
                for server in fit:
                    if server.target is None and i >= LONG_ROUNDS:
                        continue
                    samples[server.name].append(measure(context, server, text, streams, tokens))
            bound, bound_name = ceiling(context, streams, tokens)
            row = Row(f"{streams} stream{'s' if streams > 1 else ''} after {tokens} tokens, together", "tokens/s",
                      samples.pop(ours.name), peers=samples, ceiling=bound, ceiling_name=bound_name)
            row.goals = goals(row, context, streams, tokens)
            rows.append(row)
            context.say(f"decode {streams} x {tokens}: {[round(s) for s in row.ours]}")
    notes = ["One decode worker with 2 threads; 128 tokens a stream; the rate counts while all streams run.",
             "The ceiling reads each weight and each KV value from memory once a step. Caches hold a part of both, so a share above "
             "100 % is possible.",
             "Peers: llama.cpp's server, 2 threads, 8 slots; not measured at 32 streams and where prompts sum to more than 8k tokens. "
             "Through its API: compiled for this processor, without server, client and sampling. Goals take the better form."]
    return [Table("decode", "speed of running streams", rows, notes)]
