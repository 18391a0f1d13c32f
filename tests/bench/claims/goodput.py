"""Open load: how many requests a second meet a service level, two workers for both against one prefill and one decode worker,
one thread each. Requests come when they come; one that fails or is late counts for nothing."""
import dataclasses

import load
import prompts
import servers
import traces
from report import Plot, Row, Table, median, number

TTFT_FACTOR, MEAN_FACTOR, LONGEST_FACTOR = 4, 2, 8
PROBES = (200, 1600)  # prompt lengths whose unloaded times make the level
LANES = 4


@dataclasses.dataclass
class Level:
    """Times in seconds that a request has to keep to, from those of an idle server."""
    base: float  # time to the first token of a prompt of n tokens: base + slope n, unloaded
    slope: float
    step: float  # between two tokens of a lone stream

    def kept(self, answer, prompt):
        """(with the mean gap, with the longest gap): which levels the answer meets."""
        if not answer.ok or answer.ttft > TTFT_FACTOR * (self.base + self.slope * prompt):
            return False, False
        gaps = answer.gaps() or [0.0]
        return sum(gaps) / len(gaps) <= MEAN_FACTOR * self.step, max(gaps) <= LONGEST_FACTOR * self.step

    def words(self):
        first = [f"{number(1e3 * TTFT_FACTOR * (self.base + self.slope * n))} ms for {n}" for n in PROBES]
        return (f"Level: first token within {TTFT_FACTOR} x its unloaded time ({', '.join(first)} tokens), and either the mean gap "
                f"within {MEAN_FACTOR} x the step of a lone stream ({number(1e3 * MEAN_FACTOR * self.step)} ms) or the longest gap "
                f"within {LONGEST_FACTOR} x ({number(1e3 * LONGEST_FACTOR * self.step)} ms).")


def unloaded(context, server, fresh):
    """The level of an idle server. The fastest of a few counts: whatever else the machine does only makes the level milder."""
    firsts, steps = [], []
    for count in PROBES:
        answers = [load.send(context, [load.request("u", server, fresh.tokens(count), 16)])["u"] for _ in range(3)]
        firsts.append(min(a.ttft for a in answers))
        steps.append(min(median(a.gaps()) for a in answers))
    slope = (firsts[1] - firsts[0]) / (PROBES[1] - PROBES[0])
    return Level(firsts[0] - slope * PROBES[0], slope, min(steps))


def capacity(context, server, fresh, requests):
    """Requests of the synthetic mix per second when LANES of them are always there."""
    mix = traces.drawn(1.0, 10.0 * requests, "capacity")[:requests]
    plan = [load.request(f"c{i}", server, fresh.tokens(a.prompt), a.output, lane=i % LANES) for i, a in enumerate(mix)]
    return len(plan) / max(a.done for a in load.send(context, plan).values())


def good(context, server, fresh, trace, level, span_s):
    """(requests/s that met the level with the mean gap, with the longest gap)."""
    plan = [load.request(f"r{i}", server, fresh.tokens(a.prompt), a.output, at=a.at) for i, a in enumerate(trace)]
    answers = load.send(context, plan, limit_s=4 * span_s, must_succeed=False)
    kept = [level.kept(answers[f"r{i}"], a.prompt) for i, a in enumerate(trace)]
    return [sum(k[which] for k in kept) / span_s for which in (0, 1)]


def loss(row, alone):
    """Words for a row in which disaggregation is behind in every sample (of the same arrivals); None where it is not."""
    theirs = row.peers[alone]
    behind = all(mine < other for mine, other in zip(row.ours, theirs))
    return f"{row.label}: {number(median(row.ours))} against {number(median(theirs))}" if behind else None


def run(context):
    span_s = 8 if context.quick else 20
    shares = (0.5, 0.9) if context.quick else (0.3, 0.6, 0.9, 1.1)
    seeds = range(1 if context.quick else 2)
    alone = servers.Ours("ours, 2 workers for both, 1 thread each", 0, 2, 1)
    apart = servers.disaggregated()
    recorded = traces.read(context.trace) if context.trace else None
    kinds = ["recorded"] if recorded else ["Poisson", "bursty"]
    seen = {}  # (kind, share, server): [(by mean, by longest)]
    with servers.running(alone, apart):
        fresh = traces.FreshPrompts(prompts.Prompts(alone.cluster).tokens(3000, "goodput"), "goodput")
        for server in (alone, apart):
            load.send(context, [load.request("w", server, fresh.tokens(500), 8)])
        level = unloaded(context, alone, fresh)
        most = capacity(context, alone, fresh, 12 if context.quick else 40)
        for kind in kinds:
            for share in shares:
                for seed in seeds:
                    rate = share * most
                    trace = (traces.scaled(recorded, rate, span_s, seed) if recorded else
                             traces.drawn(rate, span_s, seed, kind == "bursty"))
                    for server in (apart, alone) if seed % 2 else (alone, apart):
                        result = good(context, server, fresh, trace, level, span_s)
                        seen.setdefault((kind, share, server.name), []).append(result)
                context.say(f"{kind} {share}: {seen[kind, share, apart.name]} against {seen[kind, share, alone.name]}")
    return [table(seen, kinds, [(s, s * most) for s in shares], level, apart.name, alone.name, span_s)]


def table(seen, kinds, rates, level, apart, alone, span_s):
    rows, lost, plots = [], [], []
    for which, gap in enumerate(("mean", "longest")):
        for kind in kinds:
            lines = {name: ([rate for _, rate in rates], [median([r[which] for r in seen[kind, share, name]]) for share, _ in rates])
                     for name in (apart, alone)}
            plots.append(Plot(f"goodput-{kind.lower()}-{gap}", f"goodput, {kind} arrivals, level with the {gap} gap",
                              "requests/s offered", "requests/s within the level", lines))
            for share, rate in rates:
                row = Row(f"{kind} arrivals of {number(rate)}/s, {gap} gap", "requests/s within",
                          [r[which] for r in seen[kind, share, apart]], peers={alone: [r[which] for r in seen[kind, share, alone]]})
                rows.append(row)
                lost.append(loss(row, alone))
    lost = [words for words in lost if words]
    notes = [level.words(),
             f"Prompts of {traces.MEAN_PROMPT} tokens and outputs of {traces.MEAN_OUTPUT} on average, new to every cache; each sample "
             f"is {span_s} s of arrivals, the same ones for both. A failed request counts as not within.",
             "The column ours is one prefill and one decode worker, one thread each. "
             + (f"DISAGGREGATION LOSES in {len(lost)} of {len(rows)} rows: " + "; ".join(lost) if lost else
                "It loses in no row.")]
    return Table("goodput", "requests within a service level under open load", rows, notes, plots)
