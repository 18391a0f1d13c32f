"""What priority lanes and the batching window do: an interactive stream and a short question beside bulk requests, and short bulk
prompts under open load with and without the window. Latency stands beside the throughput that it costs."""
import random

import load
import prompts
import servers
from report import Row, Table, median, percentile

BULK, BULK_PROMPT, BULK_OUTPUT = 16, 128, 32
STREAM_PROMPT, STREAM_OUTPUT = 64, 4000
QUESTION_PROMPT, QUESTIONS, FIRST_QUESTION_S, QUESTION_EVERY_S = 48, 3, 0.5, 1.0
CALM_EVENTS = 20  # of the stream before the bulk requests come
LATER = {"priority": 1}
WINDOWS_MS = (0, 5, 20)
SHORT_PROMPT, SHORT_OUTPUT = (24, 64), (1, 4)
RATES = (4, 12)  # short bulk requests a second
WARM_S = 2


def beside_bulk(context, server, text, fields, seed):
    """Times in ms of a stream and of short questions while BULK requests with `fields` run, and what these reach."""
    bulk = [f"b{i}" for i in range(BULK)]
    questions = [f"q{i}" for i in range(QUESTIONS)]
    requests = [load.request("stream", server, text.tokens(STREAM_PROMPT, f"{seed}-stream"), STREAM_OUTPUT, until=bulk)]
    requests += [load.request(n, server, text.tokens(BULK_PROMPT, f"{seed}-{n}"), BULK_OUTPUT, fields, after="stream",
                              after_events=CALM_EVENTS) for n in bulk]
    requests += [load.request(n, server, text.tokens(QUESTION_PROMPT, f"{seed}-{n}"), 1, after="stream", after_events=CALM_EVENTS,
                              at=FIRST_QUESTION_S + i * QUESTION_EVERY_S) for i, n in enumerate(questions)]
    answers = load.send(context, requests, limit_s=200)
    stream, asked = answers["stream"], [answers[n] for n in questions]
    ran = [answers[n] for n in bulk]
    since, until = min(a.sent for a in ran), max(a.done for a in ran)
    gaps = [1e3 * g for g in stream.gaps(since, until)]
    return {"p50": median(gaps), "p99": percentile(gaps, 0.99), "longest": max(gaps),
            "ttft": max(1e3 * a.ttft for a in asked), "bulk": sum(a.tokens for a in ran) / (until - since),
            "all": (sum(a.tokens for a in ran) + len(gaps)) / (until - since)}


FIGURES = {"p50": ("the stream's median gap", "ms", False), "p99": ("its 99th percentile gap", "ms", False),
           "longest": ("its longest gap", "ms", False), "ttft": ("slowest first token of a short question", "ms", False),
           "bulk": ("the bulk requests", "tokens/s out", True), "all": ("bulk requests and stream", "tokens/s out", True)}


def lanes(context):
    server = servers.colocated()
    as_bulk, as_equals = "ours", "all sent as interactive"
    seen = {as_bulk: [], as_equals: []}
    with servers.running(server):
        text = prompts.Prompts(server.cluster)
        beside_bulk(context, server, text, LATER, "warm")
        for i in range(context.repeats):
            for name, fields in ((as_bulk, LATER), (as_equals, None)):
                seen[name].append(beside_bulk(context, server, text, fields, f"lanes{i}-{name}"))
    rows = [Row(label, unit, [m[figure] for m in seen[as_bulk]], higher, peers={as_equals: [m[figure] for m in seen[as_equals]]})
            for figure, (label, unit, higher) in FIGURES.items()]
    ours, equals = rows[4].ours, rows[4].peers[as_equals]
    notes = [f"One decode worker with 2 threads fills all prompts: a stream, {BULK} requests of {BULK_PROMPT} + {BULK_OUTPUT} tokens "
             f"that come at once, {QUESTIONS} questions of {QUESTION_PROMPT} tokens while they run. Gaps count while the bulk "
             "requests run: the longer these take, the more of the stream is in its figures.",
             f"The price: bulk requests reach {100 * median(ours) / median(equals):.0f} % of the tokens/s that they reach as equals. "
             "While a stream runs, its steps have room for a few bulk sequences, and each step reads all weights."]
    return Table("lanes", f"an interactive stream beside {BULK} bulk requests", rows, notes)


def short_bulk(context, server, text, rate, span_s, seed):
    """Poisson arrivals of short bulk requests: {p50, p99 in ms of whole answers, cpu in ms for each, rate of answers}."""
    draw = random.Random(seed)
    plan, at = [], 0.0
    while (at := at + draw.expovariate(rate)) < span_s:
        i = len(plan)
        plan.append(load.request(f"r{i}", server, text.tokens(draw.randint(*SHORT_PROMPT), f"{server.name}-{seed}-{i}"),
                                 draw.randint(*SHORT_OUTPUT), LATER, at=at))
    before = server.cpu_seconds()
    answers = list(load.send(context, plan).values())
    took = [1e3 * (a.done - a.start) for a in answers]
    return {"p50": median(took), "p99": percentile(took, 0.99), "cpu": 1e3 * (server.cpu_seconds() - before) / len(plan),
            "rate": len(plan) / max(a.done for a in answers)}


WINDOW_FIGURES = {"p50": ("median time of an answer", "ms", False), "p99": ("its 99th percentile", "ms", False),
                  "cpu": ("processor time for each", "ms", False), "rate": ("answers", "1/s", True)}


def window(context):
    span_s = 5 if context.quick else 15
    found = [servers.Ours(f"window {ms} ms", 0, 1, 2, decode_flags=["--batch-window-ms", str(ms)]) for ms in WINDOWS_MS]
    seen = {}
    with servers.running(*found):
        text = prompts.Prompts(found[0].cluster)
        for server in found:
            short_bulk(context, server, text, max(RATES), WARM_S, "warm")
        for rate in RATES:
            for i in range(1 if context.quick else 3):
                for server in found:
                    result = short_bulk(context, server, text, rate, span_s, f"window{rate}-{i}")
                    seen.setdefault((rate, server.name), []).append(result)
            context.say(f"lanes, windows at {rate}/s: {[seen[rate, s.name][0] for s in found]}")
    rows = []
    for rate in RATES:
        for figure, (label, unit, higher) in WINDOW_FIGURES.items():
            values = {s.name: [m[figure] for m in seen[rate, s.name]] for s in found}
            rows.append(Row(f"{rate}/s: {label}", unit, values.pop(found[0].name), higher, peers=values))
    notes = [f"One decode worker with 2 threads; prompts of {SHORT_PROMPT[0]} to {SHORT_PROMPT[1]} tokens, {SHORT_OUTPUT[0]} to "
             f"{SHORT_OUTPUT[1]} out, all sent as bulk, at Poisson arrivals. The column ours is without a window.",
             verdict(seen, found)]
    return Table("lanes-window", "--batch-window-ms with short bulk prompts", rows, notes)


def verdict(seen, found):
    """Words for what the longest window saved and cost at each rate."""
    none, longest = found[0].name, found[-1].name
    said = []
    for rate in RATES:
        cpu, p50 = ([median([m[f] for m in seen[rate, n]]) for n in (none, longest)] for f in ("cpu", "p50"))
        saved = 100 * (1 - cpu[1] / cpu[0])
        said.append(f"at {rate}/s {longest} takes {saved:.0f} % off the processor time for {p50[1] - p50[0]:.1f} ms more of the median"
                    + ("" if saved > 3 else ": it does not pay"))
    return "; ".join(said).capitalize() + "."


def run(context):
    return [lanes(context), window(context)]
