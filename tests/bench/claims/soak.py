"""Hours of load at 80 % of what the cluster can do: do memory or latency creep? Runs with --only soak [--minutes N] alone."""
import math
import os
import threading
import time

import load
import prompts
import servers
import traces
from claims import goodput
from report import Goal, Plot, Row, Table, median, number, percentile

SHARE = 0.8
SAMPLES = 240  # of the memory, over the whole time
PERIODS_LEAST = 6
PERIOD_S = 300.0  # the same arrivals and lengths come again, so that periods differ by what the cluster does
LEAST_S = 1200  # of a soak whose growth is judged
GROWTH_PERCENT = 5  # an hour
RESOLVED_PERCENT = 25  # two standard errors; beyond that a run tells nothing of growth


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(xs, ys):
    """(of the least-squares line, its standard error); zeros with fewer than three points."""
    if len(xs) < 3:
        return 0.0, 0.0
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((a - x) ** 2 for a in xs)
    found = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / spread
    left = sum((b - y - found * (a - x)) ** 2 for a, b in zip(xs, ys))
    return found, math.sqrt(left / (len(xs) - 2) / spread)


def second_half(points, span_s):
    kept = [(x, y) for x, y in points if x >= span_s / 2]
    return [x for x, _ in kept], [y for _, y in kept]


def watch(server, span_s):
    """{process: [(second, MiB)]} while the load runs."""
    seen = {name: [] for name in server.processes()}
    began = time.monotonic()
    while (now := time.monotonic() - began) < span_s:
        for name, pid in server.processes().items():
            seen[name].append((now, resident_mib(pid)))
        time.sleep(min(5.0, span_s / SAMPLES))  # the distance of samples; nothing is waited for
    return seen


def period(span_s):
    """(its seconds, how many of them). Six at least."""
    count = max(PERIODS_LEAST, round(span_s / PERIOD_S))
    return span_s / count, count


def latencies(answers, span_s):
    """{figure: [(second, ms)]}, one point a period."""
    width, _ = period(span_s)
    bins = {}
    for answer in answers:
        bins.setdefault(int(answer.start / width), []).append(answer)
    found = {}
    for index, part in sorted(bins.items()):
        firsts, gaps = [1e3 * a.ttft for a in part], [1e3 * g for a in part for g in a.gaps()]
        for name, values in (("TTFT", firsts), ("ITL", gaps)):
            for share in (0.5, 0.99):
                if values and (index + 1) * width <= span_s + 1e-6:
                    found.setdefault(f"{name} p{100 * share:.0f}", []).append(((index + 0.5) * width, percentile(values, share)))
    return found


def run(context):
    span_s = 60 * context.minutes
    with servers.running(servers.disaggregated()) as (server,):
        fresh = traces.FreshPrompts(prompts.Prompts(server.cluster).tokens(3000, "soak"), "soak")
        most = goodput.capacity(context, server, fresh, 16 if context.minutes < 5 else 60)
        context.say(f"capacity {number(most)} requests/s; {context.minutes:g} minutes at {100 * SHARE:.0f} % of it")
        seconds, count = period(span_s)
        again = traces.drawn(SHARE * most, seconds, "soak")
        plan = [load.request(f"s{n}-{i}", server, fresh.tokens(a.prompt), a.output, at=n * seconds + a.at)
                for n in range(count) for i, a in enumerate(again)]
        answers = {}
        sender = threading.Thread(
            target=lambda: answers.update(load.send(context, plan, limit_s=span_s + 60, must_succeed=False)))
        sender.start()
        memory = watch(server, span_s)
        sender.join()
    return [table(memory, list(answers.values()), len(plan), most, span_s)]


def table(memory, answers, sent, most, span_s):
    ok = [a for a in answers if a.ok]
    judged = span_s >= LEAST_S
    times = latencies(ok, span_s)
    rows = [Row("requests that failed", "of all", [sent - len(ok)], False, goals=[Goal("must", "fixed", 0)])]
    for name, points in memory.items():
        per_hour = 3600 * slope(*second_half(points, span_s))[0]
        rows.append(Row(f"{name}: growth of its resident memory", "MiB/h", [per_hour], False,
                        goals=[Goal("must", "1 % of it an hour", 0.01 * points[-1][1] if judged else None),
                               Goal("stretch", "fixed", 1 if judged else None)]))
        rows.append(Row(f"{name}: resident memory at the end", "MiB", [points[-1][1]], False))
    for name, points in times.items():
        seconds, values = zip(*points)
        growth, error = (100 * 3600 * x / median(values) for x in slope(seconds, values))
        resolved = judged and 2 * error <= RESOLVED_PERCENT
        rows.append(Row(f"{name}: its growth", "% an hour", [growth], False,
                        goals=[Goal("must", f"{GROWTH_PERCENT}, or two standard errors where they are more: {number(2 * error)}"
                                    + ("" if resolved else ", which is too much to tell"),
                                    max(GROWTH_PERCENT, 2 * error) if resolved else None)]))
        rows.append(Row(f"{name}, period by period", "ms", list(values), False))
    notes = [f"{number(SHARE * most)} requests/s, {100 * SHARE:.0f} % of a closed loop's {number(most)}, Poisson arrivals for "
             f"{number(span_s / 60)} minutes; prompts new to every cache, 1 prefill + 1 decode worker, 1 thread each.",
             f"The arrivals and lengths of {number(period(span_s)[0])} s come again and again. Growth of latency: least squares over "
             "these periods; of memory: over the second half. Caches fill at first: memory that is still being touched is no leak.",
             "What is resident in the decode worker includes the prefill worker's cache, which it maps to copy from."]
    if not judged:
        notes.append("TOO SHORT for a verdict: growth an hour is extrapolated from a few minutes, and the caches still fill.")
    lines = {}  # above each one's lowest: of a leak nothing would be seen beside the whole
    for name, points in memory.items():
        least = min(y for _, y in points)
        lines[f"{name}, above {number(least)} MiB"] = ([x / 60 for x, _ in points], [y - least for _, y in points])
    curves = {name: ([x / 60 for x, _ in points], [y for _, y in points]) for name, points in times.items()}
    return Table("soak", "hours of load", rows, notes, [
        Plot("soak-memory", "resident memory", "minutes", "MiB", lines),
        Plot("soak-latency", "latency, requests by their arrival", "minutes", "ms", curves, log_y=True)])
