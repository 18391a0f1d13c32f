"""Eight requests at once, from their sending to the last token of the last one."""
import load
import prompts
import servers
from report import Goal, Row, Table, median

STREAMS, PROMPT, OUTPUT = 8, 200, 128


def measure(context, server, text, round_index):
    requests = [load.request(f"s{i}", server, text.tokens(PROMPT, f"eight{round_index}-{i}"), OUTPUT)
                for i in range(STREAMS)]
    answers = load.send(context, requests).values()
    return STREAMS * OUTPUT / max(a.done for a in answers)


def run(context):
    alone, apart = servers.colocated(), servers.disaggregated()
    samples = {}
    with servers.running(alone, apart, *servers.peers(context)) as all_servers:
        text = prompts.Prompts(alone.cluster)
        for i in range(-1, context.repeats):
            for server in all_servers:
                rate = measure(context, server, text, i)
                if i >= 0:
                    samples.setdefault(server.name, []).append(rate)
    row = Row(f"{STREAMS} requests at once: {PROMPT} tokens in, {OUTPUT} out", "tokens/s out", samples.pop(alone.name), peers=samples)
    best = max((median(s) for n, s in samples.items() if n != apart.name), default=None)
    row.goals = [Goal("must", "2 x the best peer", best and 2 * best), Goal("stretch", "4 x the best peer", best and 4 * best)]
    return [Table("eight", "eight streams end to end", [row],
                  ["All output tokens over the time from the first request to the last token, prefill included.",
                   "The column ours is one worker for both with 2 threads, as the peers have."])]
