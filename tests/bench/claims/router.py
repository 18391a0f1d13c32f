"""What the router costs: latency that it adds, requests and events per second, processor time and memory."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "router"))

import environments  # noqa: E402
import rates  # noqa: E402
import report  # noqa: E402

PACE_US = 20_000
STREAM_TOKENS = 128
LONG_WORDS = 200  # of a prompt that ours, too, has computed by a prefill worker
LEAST_SHARE = 0.8  # of the events that a pace asks for; what sends fewer was not measured at that pace
PEERS = ("sglang-router", "vllm-router")

LATENCIES = (("whole", 1, False), ("first", 8, True))  # kind, tokens, streamed


def latencies(setup, direct, seconds):
    """One request at a time, through the router and without it. Without it is measured before and after, and the lower
    one is what is subtracted: a disturbance there must not make the router look better."""
    figures = {}
    for kind, tokens, stream in LATENCIES:
        before = direct(setup, tokens, stream)
        routed = setup.load(1, seconds, tokens, stream)
        after = direct(setup, tokens, stream)
        for share in ("p50", "p99"):
            key = f"{kind}_{share}_us"
            straight = min(before[key], after[key])
            figures[f"routed {kind} {share}"] = routed[key] / 1e3
            figures[f"straight {kind} {share}"] = straight / 1e3
            figures[f"added {kind} {share}"] = (routed[key] - straight) / 1e3
    return figures


def disaggregated(setup, seconds):
    """Requests of long prompts, each through a prefill worker."""
    before = setup.sent_to_prefill() if setup.is_ours else 0
    rate = setup.load(64, seconds, 1, stream=False, words=LONG_WORDS)
    if setup.is_ours and setup.sent_to_prefill() - before < rate["requests"]:
        raise RuntimeError("prompts were not given to the prefill worker")
    return {"long requests": rate["requests_per_second"],
            "cpu per long request": rate["router_cpu_s"] * 1e6 / rate["requests"]}


def measure(context, start, direct, seconds):
    """One round of one router: figure -> value. `direct(setup, tokens, stream)` is the same without it."""
    figures = {}
    with start(0) as setup:
        figures["rss idle"] = setup.resident_mb()
        figures.update(latencies(setup, direct, seconds))
        rate = setup.load(64, seconds, 1, stream=False)
        figures["requests"] = rate["requests_per_second"]
        figures["cpu per request"] = rate["router_cpu_s"] * 1e6 / rate["requests"]
        figures.update(disaggregated(setup, seconds))
        for streams in (64, 512, 1024):
            result = setup.load(streams, seconds, STREAM_TOKENS, stream=True)
            figures[f"events {streams}"] = result["events_per_second"]
            figures[f"events per cpu {streams}"] = result["events"] / result["router_cpu_s"]
        figures["rss after"] = setup.resident_mb()
    with start(PACE_US) as setup:
        for streams in (64, 512):
            result = setup.load(streams, seconds + 1, 4 * STREAM_TOKENS, stream=True)
            if result["events_per_second"] < LEAST_SHARE * streams * 1e6 / PACE_US:
                raise RuntimeError(f"{streams} streams: {result['events_per_second']} events/s at a pace of {PACE_US} us")
            figures[f"paced {streams}"] = result["events_per_second"]
            figures[f"paced per cpu {streams}"] = result["events"] / result["router_cpu_s"]
    return figures


def run(context):
    programs = os.path.join(context.build, "tests", "bench", "router")
    seconds = 1.0 if context.quick else 2.0
    pins = os.path.join(os.path.dirname(rates.__file__), "peers.txt")
    environment = environments.installed(context, "router-peers", pins) if context.peers else None

    def direct_http(setup, tokens, stream):
        with rates.peer("direct", programs, environment) as backend:
            return backend.load(1, seconds, tokens, stream)

    def direct_session(setup, tokens, stream):
        return rates.direct_session(programs, setup.backend_port, seconds, tokens)

    contenders = {"ours": (lambda pace: rates.ours(programs, context.bin, context.model, pace), direct_session)}
    for name in PEERS if context.peers else ():
        contenders[name] = (lambda pace, name=name: rates.peer(name, programs, environment, pace), direct_http)
    samples = {name: {} for name in contenders}
    for turn in range(1 if context.quick else 3):
        for name, (start, direct) in contenders.items():
            context.say(f"{name}, round {turn + 1}")
            for figure, value in measure(context, start, direct, seconds).items():
                samples[name].setdefault(figure, []).append(value)
    return [table(samples)]


def table(samples):
    ours = samples["ours"]

    def row(label, unit, figure, higher=True, limits=None, factors=None):
        peers = {name: figures[figure] for name, figures in samples.items() if name != "ours"}
        goals = []
        if limits:
            goals = [report.Goal(name, "fixed", limit) for name, limit in zip(("must", "stretch"), limits)]
        if factors:
            medians = [report.median(values) for values in peers.values()]
            for name, factor in zip(("must", "stretch"), factors):
                target = factor * max(medians) if medians else None
                goals.append(report.Goal(name, f"{factor}x the better peer", target))
        return report.Row(label, unit, ours[figure], higher_is_better=higher, peers=peers, goals=goals)

    rows = []
    for kind, label in (("whole", "whole answer"), ("first", "first event")):
        rows.append(row(f"added latency of a {label}, 1 at a time, p50", "ms", f"added {kind} p50", False, (0.3, 0.15)))
        rows.append(row(f"added latency of a {label}, 1 at a time, p99", "ms", f"added {kind} p99", False, (1.0, 0.4)))
        for share in ("p50", "p99"):
            rows.append(row(f"the same through the router, nothing subtracted, {share}", "ms", f"routed {kind} {share}", False))
            rows.append(row(f"the same without the router, {share}", "ms", f"straight {kind} {share}", False))
    rows.append(row("requests of one token, 64 connections", "1/s", "requests", factors=(2, 4)))
    rows.append(row("router's processor time a request, 64 connections", "us", "cpu per request", False))
    rows.append(row(f"requests of one token, prompts of {LONG_WORDS} words, 64 connections", "1/s", "long requests"))
    rows.append(row("router's processor time for each of these", "us", "cpu per long request", False))
    for streams in (64, 512, 1024):
        rows.append(row(f"events, {streams} streams, no pace", "1/s", f"events {streams}",
                        factors=None if streams == 1024 else (2, 4)))
    for streams in (64, 512, 1024):
        rows.append(row(f"events per router CPU-second, {streams} streams, no pace", "1/s", f"events per cpu {streams}",
                        factors=None if streams == 1024 else (2, 4)))
    for streams in (64, 512):
        rows.append(row(f"events, {streams} streams, 20 ms pace", "1/s", f"paced {streams}"))
        rows.append(row(f"events per router CPU-second, {streams} streams, 20 ms pace", "1/s", f"paced per cpu {streams}",
                        factors=(2, 4)))
    rows.append(row("resident memory, idle", "MB", "rss idle", False, (60, 30)))
    rows.append(row("resident memory, after all of this without a pace", "MB", "rss after", False, (100, 60)))
    notes = [
        "Ours: the production router before production workers (cores, sessions, threads, transfer) whose model takes no time.",
        "Peers: in their disaggregated modes before a fast backend that sends the same events; it is less work than a worker.",
        f"Prompts are 8 words where nothing else is said: the peers send each to a prefill and a decode backend; ours, by its rule for "
        f"short prompts, to the decode worker alone. Prompts of {LONG_WORDS} words take all three routers through both, and ours makes "
        "them tokens and its workers a real offer, push and commit of each.",
        "Added latency of ours: over a request on a session straight to the worker (session_probe), which has no HTTP. "
        "Of a peer: over the same request straight to the backend. The lower of two runs, before and after, is "
        "subtracted, from medians and from 99th percentiles.",
        "Client, router and backends share this machine's cores; without a pace all of them together are what limits the "
        "rates, and every part gathers what waits. With a pace each event is a write of its own.",
        "Goals for events without a pace follow from the peer's own rate here, whatever the cores could carry.",
    ]
    return report.Table("router", "what the router costs", rows, notes)
