"""Time to the first token when the first 1,600 tokens of a prompt are cached and 16 are new."""
import load
import prompts
import servers
from report import Goal, Row, Table, median

PREFIX, FRESH = 1600, 16


def run(context):
    alone, apart = servers.colocated(), servers.disaggregated()
    samples = {}
    with servers.running(alone, apart, *servers.peers(context)) as all_servers:
        text = prompts.Prompts(alone.cluster)
        prefix = text.tokens(PREFIX, "cached")
        for i in range(-1, 2 * context.repeats):
            for server in all_servers:
                prompt = prefix + text.tokens(FRESH, f"fresh{i}")
                answer = load.send(context, [load.request("c", server, prompt, 4)])["c"]
                if i >= 0:  # the first one filled the caches
                    samples.setdefault(server.name, []).append(1e3 * answer.ttft)
    row = Row(f"time to the first token, {PREFIX} tokens cached, {FRESH} new", "ms", samples.pop(alone.name),
              higher_is_better=False, peers=samples)
    theirs = median(samples.get(servers.LLAMA, []))
    row.goals = [Goal("must", "1/4 of llama.cpp, same file", theirs and theirs / 4),
                 Goal("stretch", "1/10 of llama.cpp, same file", theirs and theirs / 10)]
    notes = ["The column ours is one worker for both with 2 threads, as the peers have. Of one prefill and one decode worker with one "
             "thread each, the decode worker computes the new tokens by itself."]
    return [Table("cached", "a cached prefix", [row], notes)]
