"""Load at 80 % of what the cluster can do, for long: does memory grow, and is the cluster slower afterwards than a new one?
Runs with --only soak [--minutes N] alone."""
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
LEAST_S = 1200  # of a soak that is judged
TURNS = ("new", "worked", "worked", "new") * 2  # neither gains by a machine that changes steadily
TURN_S = PERIOD_S / 2
SLOWER = 1.05  # than a new cluster
GROWTH = 0.01  # of a process's memory, an hour
GROWTH_MIB = 1  # an hour that any process may grow by: 1 % of a small one is less than an allocator moves by without a leak


def resident_mib(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def slope(points):
    """Of the least-squares line; zero with fewer than three points."""
    if len(points) < 3:
        return 0.0
    x, y = (sum(values) / len(points) for values in zip(*points))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def second_half(points, span_s):
    return [(x, y) for x, y in points if x >= span_s / 2]


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


def figures(answers):
    """{figure: ms}"""
    samples = {"TTFT": [1e3 * a.ttft for a in answers], "ITL": [1e3 * gap for a in answers for gap in a.gaps()]}
    return {f"{name} p{100 * share:.0f}": percentile(values, share)
            for name, values in samples.items() if values for share in (0.5, 0.99)}


def by_period(answers, span_s):
    """{figure: [(second, ms)]}"""
    width, count = period(span_s)
    found = {}
    for index in range(count):
        for name, value in figures([a for a in answers if int(a.start / width) == index]).items():
            found.setdefault(name, []).append(((index + 0.5) * width, value))
    return found


def in_turns(context, worked, fresh, arrivals):
    """{"worked", "new": the answers of each of its turns}: the same arrivals at a time, at the cluster that has worked and at a
    new one, for a machine is not equally fast all the time. Before that a whole period fills the new one's caches."""
    found = {"new": [], "worked": []}
    short = [a for a in arrivals if a.at < TURN_S]
    with servers.running(servers.disaggregated()) as (new,):
        for turn, kind in enumerate(("to fill", *TURNS)):
            context.say(f"{kind}: turn {turn} of {len(TURNS)}")
            server = worked if kind == "worked" else new
            plan = [load.request(f"t{turn}-{i}", server, fresh.tokens(a.prompt), a.output, at=a.at)
                    for i, a in enumerate(short if turn else arrivals)]
            answers = load.send(context, plan, limit_s=2 * PERIOD_S + 60, must_succeed=False)
            if turn:
                found[kind].append(list(answers.values()))
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
        turns = in_turns(context, server, fresh, again)
    return [table(memory, list(answers.values()), len(plan), turns, most, span_s)]


def beside_new(name, turns, judged):
    """One latency of the cluster that has worked, beside the new one's."""
    worked, new = ([figures([a for a in answers if a.ok])[name] for answers in turns[kind]] for kind in ("worked", "new"))
    goal = Goal("must", f"{SLOWER:.2f} of a new cluster's", SLOWER * median(new) if judged else None)
    return Row(f"{name} afterwards", "ms", worked, False, peers={"a new cluster": new}, goals=[goal])


def table(memory, answers, sent, turns, most, span_s):
    ok = [a for a in answers if a.ok]
    judged = span_s >= LEAST_S
    times = by_period(ok, span_s)
    failed = sent - len(ok) + sum(not a.ok for kind in turns.values() for answers in kind for a in answers)
    rows = [Row("requests that failed", "of all", [failed], False, goals=[Goal("must", "fixed", 0)])]
    for name, points in memory.items():
        per_hour = 3600 * slope(second_half(points, span_s))
        rows.append(Row(f"{name}: growth of its resident memory", "MiB/h", [per_hour], False,
                        goals=[Goal("must", f"{100 * GROWTH:g} % of it or {GROWTH_MIB} MiB an hour, whichever is more",
                                    max(GROWTH * points[-1][1], GROWTH_MIB) if judged else None),
                               Goal("stretch", "fixed", GROWTH_MIB if judged else None)]))
        rows.append(Row(f"{name}: resident memory at the end", "MiB", [points[-1][1]], False))
    for name, points in times.items():
        values = [y for _, y in points]
        rows.append(beside_new(name, turns, judged))
        rows.append(Row(f"{name}, period by period", "ms", values, False))
        rows.append(Row(f"{name}: its growth, the machine's own changes with it", "% an hour",
                        [100 * 3600 * slope(points) / median(values)], False))
    notes = [f"{number(SHARE * most)} requests/s, {100 * SHARE:.0f} % of a closed loop's {number(most)}, Poisson arrivals for "
             f"{number(span_s / 60)} minutes; prompts new to every cache, 1 prefill + 1 decode worker, 1 thread each.",
             f"The arrivals and lengths of {number(period(span_s)[0])} s come again and again. Afterwards those of the first "
             f"{number(TURN_S)} s come in {len(TURNS)} turns to the cluster that has worked and to a new one that has worked for "
             f"{number(period(span_s)[0])} s, each idle before: a machine that changes changes both.",
             "Growth is that of a least-squares line, of memory over the second half: caches fill at first, and memory that is "
             "still being touched is no leak.",
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
