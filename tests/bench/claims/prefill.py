"""How fast a prompt that no cache knows is computed: its tokens over the time to the first token."""
import load
import prompts
import servers
from report import Goal, Plot, Row, Table, median

LENGTHS = [128, 512, 2048, 6144]
PEER_ROUNDS = {128: 5, 512: 5, 2048: 3, 6144: 1}  # they take up to half a minute for a long one
LAYER_GOP = 0.2123  # per token of the default model, without attention


def measure(context, server, text, tokens, seed):
    if server.target is None:
        return tokens / server.time([text.tokens(tokens, seed)])[0]
    answer = load.send(context, [load.request("p", server, text.tokens(tokens, seed), 1)])["p"]
    return tokens / answer.ttft


def goals(row, tokens, products):
    if not 512 <= tokens <= 2048:
        return []
    same, fastest = (servers.best(row.peers, n) for n in (servers.LLAMA, servers.LLAMA_FASTEST))
    vnni = products != "AVX2"
    return [Goal("must", "3.5 x llama.cpp, same file", same and 3.5 * same),
            Goal("must", f"{1.6 if vnni else 1.3} x llama.cpp's fastest form", fastest and (1.6 if vnni else 1.3) * fastest),
            Goal("stretch", "6 x llama.cpp, same file", same and 6 * same),
            Goal("stretch", "2.5 x llama.cpp's fastest form", fastest and 2.5 * fastest)]


def run(context):
    most = context.machine.ceilings
    alone, apart = servers.colocated(), servers.disaggregated()
    rows, line = [], []
    with servers.running(alone, apart, *servers.peers(context), *servers.native_peers(context)) as all_servers:
        text = prompts.Prompts(alone.cluster)
        for server in all_servers:
            measure(context, server, text, 128, "warm")
        for tokens in LENGTHS[1:3] if context.quick else LENGTHS:
            samples = {s.name: [] for s in all_servers}
            for i in range(context.repeats):
                for server in all_servers:
                    if server not in (alone, apart) and i >= PEER_ROUNDS[tokens]:
                        continue
                    samples[server.name].append(measure(context, server, text, tokens, f"prefill{tokens}-{i}"))
            row = Row(f"prompt of {tokens} tokens, 2 threads", "tokens/s", samples.pop(alone.name), peers=samples,
                      ceiling=most["int8_2"] / LAYER_GOP, ceiling_name=f"int8 products, {most['int8_by']}, 2 threads")
            row.goals = goals(row, tokens, most["int8_by"])
            rows.append(row)
            line.append((tokens, row))
            context.say(f"prefill {tokens}: {[round(s) for s in row.ours]}")
    plot = {}
    for tokens, row in line:
        for name, samples in {alone.name: row.ours, **row.peers}.items():
            xs, ys = plot.setdefault(name, ([], []))
            xs.append(tokens)
            ys.append(median(samples))
    notes = ["Time to the first token of a single request, router and client included; every prompt is new to every cache.",
             "The column ours is one worker for both with 2 threads, as the peers have; one prefill worker with one thread that pushes to a "
             "decode worker stands among the peers.",
             "llama.cpp through its API: compiled for this processor, without server and client. Goals take the better form.",
             "The ceiling counts the products of the layers only: no attention, no norms, no quantization of activations."]
    return [Table("prefill", "computing prompts", rows, notes,
                  [Plot("prefill", "prefill", "tokens of the prompt", "tokens/s", plot)])]
