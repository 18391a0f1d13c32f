"""Eight requests at once, from their sending to the last token of the last one."""
import load
import prompts
import servers
from report import Goal, Row, Table, median

STREAMS, PROMPT, OUTPUT = 8, 200, 128


def measure(context, server, text, round_index):
    prompt_tokens = [text.tokens(PROMPT, f"eight{round_index}-{i}") for i in range(STREAMS)]
    if server.target is None:
        return STREAMS * OUTPUT / sum(server.time(prompt_tokens, OUTPUT))
    requests = [load.request(f"s{i}", server, tokens, OUTPUT) for i, tokens in enumerate(prompt_tokens)]
    answers = load.send(context, requests).values()
    return STREAMS * OUTPUT / max(a.done for a in answers)


def run(context):
    alone, apart = servers.colocated(), servers.disaggregated()
    samples = {}
    native = servers.native_peers(context, sequences=STREAMS, tokens=2 * (PROMPT + OUTPUT))
    with servers.running(alone, apart, *servers.peers(context), *native) as all_servers:
        text = prompts.Prompts(alone.cluster)
        for i in range(-1, context.repeats):
            for server in all_servers:
                rate = measure(context, server, text, i)
                if i >= 0:
                    samples.setdefault(server.name, []).append(rate)
    row = Row(f"{STREAMS} requests at once: {PROMPT} tokens in, {OUTPUT} out", "tokens/s out", samples.pop(alone.name), peers=samples)
    best = max((median(s) for n, s in samples.items() if n != apart.name and not n.endswith(servers.NATIVE)), default=None)
    row.goals = [Goal("must", "2 x the best server", best and 2 * best), Goal("stretch", "4 x the best server", best and 4 * best)]
    return [Table("eight", "eight streams end to end", [row],
                  ["All output tokens over the time from the first request to the last token, prefill included.",
                   "The column ours is one worker for both with 2 threads, as the peers have. llama.cpp through its API: compiled for "
                   "this processor, all prompts in one batch, without server, client and sampling. Goals are end to end: they take the "
                   "servers."])]
