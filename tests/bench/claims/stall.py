"""What happens to a running stream when long prompts arrive: its gaps from the arrival until the last of them has its first
token, and how long those prompts waited."""
import load
import prompts
import servers
from report import Goal, Plot, Row, Table, median, percentile

PROMPT, STREAM_PROMPT, STREAM_OUTPUT = 2800, 64, 7000
SMALLEST, PATIENCE = 16, 2
CALM_EVENTS = 60  # of the stream before the prompts arrive


def measure(context, server, text, attackers, seed):
    """{p50, p99, longest, wait in ms; calm: p50 before; gaps: (time, gap) for a plot}."""
    names = [f"a{i}" for i in range(attackers)]
    requests = [load.request("stream", server, text.tokens(STREAM_PROMPT, f"{seed}-stream"), STREAM_OUTPUT, until=names)]
    requests += [load.request(n, server, text.tokens(PROMPT, f"{seed}-{n}"), 2, after="stream", after_events=CALM_EVENTS)
                 for n in names]
    answers = load.send(context, requests, limit_s=200)
    stream, prompts_ = answers.pop("stream"), list(answers.values())
    if not stream.cut:
        raise RuntimeError(f"{server.name}: the stream ended before the prompts had their first tokens")
    since, until = min(a.sent for a in prompts_), max(a.events[0] for a in prompts_)
    gaps = [1e3 * g for g in stream.gaps(since, until)]
    return {"p50": median(gaps), "p99": percentile(gaps, 0.99), "longest": max(gaps),
            "wait": 1e3 * max(a.ttft for a in prompts_), "calm": 1e3 * median(stream.gaps(until=since)),
            "gaps": ([e - since for e in stream.events[1:]], [1e3 * g for g in stream.gaps()])}


def all_servers(context):
    found = [servers.disaggregated(), servers.colocated()]
    if context.peers:
        found.append(servers.Llama(context, servers.LLAMA, context.model))
        found += [servers.Llama(context, f"{servers.LLAMA}, -b {n} -ub {n}", context.model, n_batch=n, n_ubatch=n)
                  for n in (256, 128, 64, SMALLEST)]
        found.append(servers.Llama(context, servers.LLAMA_FASTEST, servers.q4_0(context)))
        found += [servers.Llama(context, f"{servers.LLAMA_FASTEST}, -b {n} -ub {n}", servers.q4_0(context), n_batch=n, n_ubatch=n)
                  for n in (128, 64, SMALLEST)]
    return found


def rounds(context, server, apart, attackers):
    """Of one server. The others take many times as long a round, and longest for four prompts."""
    if server is apart:
        return 2 if context.quick else 9
    return 2 if attackers == 1 or server.name == servers.LLAMA else 1


def is_bar(seen, name):
    """Whether this setting of llama.cpp counts as one of its best. The smaller the batch the shorter the gaps, until prompts are
    not served any more: the smallest counts only where they wait at most PATIENCE times as long as by default."""
    if not name.endswith(f"-ub {SMALLEST}"):
        return True
    wait, by_default = (median([m["wait"] for m in seen[n]]) for n in (name, name.split(", -b")[0]))
    return wait <= PATIENCE * by_default


def goals(seen, ours, figure):
    if figure == "p99":
        return [Goal("stretch", "1.5 x the median gap", 1.5 * median([m["p50"] for m in seen[ours]]))]
    if figure != "longest":
        return []
    default = [m["longest"] for m in seen.get(servers.LLAMA, [])]
    swept = [median([m["longest"] for m in ms]) for n, ms in seen.items() if n.startswith("llama.cpp") and is_bar(seen, n)]
    return [Goal("must", "3 x the median gap", 3 * median([m["p50"] for m in seen[ours]])),
            Goal("must", "1/100 of llama.cpp's default", median(default) / 100 if default else None),
            Goal("must", "1/10 of llama.cpp's best",
                 min(swept) / 10 if swept else None)]


FIGURES = {"longest": "longest gap of the stream", "p99": "its 99th percentile gap", "p50": "its median gap",
           "calm": "its median gap before", "wait": "wait of the last prompt for its first token"}


def run(context):
    tables = []
    found = all_servers(context)
    ours = found[0].name
    with servers.running(*found):
        text = prompts.Prompts(found[0].cluster)
        for server in found:
            load.send(context, [load.request("warm", server, text.tokens(PROMPT, "warm"), 8)])
        for attackers in (1,) if context.quick else (1, 4):
            seen = {s.name: [] for s in found}
            for i in range(9):
                for server in found:
                    if i < rounds(context, server, found[0], attackers):
                        seen[server.name].append(measure(context, server, text, attackers, f"stall{attackers}-{i}"))
            rows = []
            for figure, label in FIGURES.items():
                values = {n: [m[figure] for m in ms] for n, ms in seen.items()}
                rows.append(Row(label, "ms", values.pop(ours), higher_is_better=False, peers=values))
                rows[-1].goals = goals(seen, ours, figure)
            context.say(f"stall {attackers}: longest {[round(x) for x in rows[0].ours]} ms")
            plot = Plot(f"stall-{attackers}", f"a stream while {attackers} x {PROMPT} tokens arrive at 0",
                        "seconds", "gap, ms", {n: ms[-1]["gaps"] for n, ms in seen.items()}, style="points", log_y=True)
            tables.append(Table(f"stall-{attackers}", f"a running stream while {attackers} prompt(s) of {PROMPT} tokens arrive", rows,
                                ["The column ours is one prefill and one decode worker with one thread each; one worker for both, "
                                 "2 threads, that fills in bounded chunks, stands among the peers.",
                                 f"llama.cpp's best: of all its settings; -b {SMALLEST} only where prompts wait at most {PATIENCE} x as "
                                 "long as by default.",
                                 "Every prompt is new to every cache. Gaps count from the arrival until the last prompt has its "
                                 "first token."], [plot]))
    return tables
