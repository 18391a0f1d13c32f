"""Figures of a claim as a table, JSON and plots. A figure is always a list of samples: the table shows its median and its
range, so that nobody has to believe one lucky run."""
import dataclasses
import json
import math
import os
import statistics


def median(samples):
    return statistics.median(samples) if samples else None


def percentile(samples, share):
    """The smallest sample that at least `share` (0 to 1) of all samples do not exceed; None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "not measured"
    if value == 0:
        return "0"
    if math.isinf(value):
        return "none"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def spread(samples):
    """"median [lowest - highest]"."""
    if not samples:
        return "not measured"
    if len(samples) == 1:
        return number(samples[0]) + " (1 run)"
    return f"{number(median(samples))} [{number(min(samples))} - {number(max(samples))}]"


@dataclasses.dataclass
class Goal:
    """What the median of `ours` should reach: `name` (must, stretch), how the target came about, and the target in the
    row's unit; None where what it is derived from was not measured."""
    name: str
    basis: str
    target: float | None

    def verdict(self, row):
        ours = median(row.ours)
        if self.target is None or ours is None:
            return "not measured"
        return "met" if (ours >= self.target if row.higher_is_better else ours <= self.target) else "NOT MET"


@dataclasses.dataclass
class Row:
    label: str
    unit: str
    ours: list
    higher_is_better: bool = True
    peers: dict = dataclasses.field(default_factory=dict)  # name: samples
    ceiling: float | None = None  # in the row's unit
    ceiling_name: str = ""
    goals: list = dataclasses.field(default_factory=list)

    def share(self):
        """How much of the ceiling is reached, 0 to 1 when the ceiling is one; None without."""
        ours = median(self.ours)
        if not self.ceiling or not ours:
            return None
        return ours / self.ceiling if self.higher_is_better else self.ceiling / ours


@dataclasses.dataclass
class Plot:
    """Lines over x, or points where `style` is "points". Written as NAME.png."""
    name: str
    title: str
    x: str
    y: str
    lines: dict  # label: (xs, ys)
    style: str = "lines"
    log_y: bool = False


@dataclasses.dataclass
class Table:
    claim: str
    title: str
    rows: list
    notes: list = dataclasses.field(default_factory=list)
    plots: list = dataclasses.field(default_factory=list)

    def markdown(self):
        lines = [f"## {self.claim}: {self.title}", "",
                 "| figure | ours | peer | this machine's ceiling | share of the ceiling | goals |",
                 "|---|---|---|---|---|---|"]
        for row in self.rows:
            peers = "; ".join(f"{name}: {spread(samples)}" for name, samples in row.peers.items()) or "-"
            ceiling = f"{number(row.ceiling)} ({row.ceiling_name})" if row.ceiling else "-"
            share = row.share()
            goals = "; ".join(
                f"{g.name} {'at least' if row.higher_is_better else 'at most'} "
                f"{number(g.target) if g.target is not None else '?'} ({g.basis}): {g.verdict(row)}" for g in row.goals)
            lines.append(f"| {row.label}, {row.unit} | {spread(row.ours)} | {peers} | {ceiling} | "
                         f"{'-' if share is None else f'{100 * share:.0f} %'} | {goals or '-'} |")
        plots = [f"![{plot.title}]({plot.name}.png)" for plot in self.plots]
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes] + [""] + (plots + [""] if plots else []))

    def json(self):
        rows = []
        for row in self.rows:
            goals = [{**dataclasses.asdict(g), "verdict": g.verdict(row)} for g in row.goals]
            rows.append({**dataclasses.asdict(row), "share": row.share(), "goals": goals})
        return {"claim": self.claim, "title": self.title, "rows": rows, "notes": self.notes}


def summary(tables, failed=()):
    """All goals of a run: how many of each name are met, and which are not. `failed`: names of claims without tables."""
    verdicts = [(goal.name, goal.verdict(row), f"{table.claim}: {row.label}, {row.unit}: {spread(row.ours)}, {goal.name} "
                 f"{number(goal.target) if goal.target is not None else '?'} ({goal.basis})")
                for table in tables for row in table.rows for goal in row.goals]
    lines = ["## goals", ""] + (["- none"] if not verdicts else [])
    for name in dict.fromkeys(name for name, _, _ in verdicts):
        of_name = [verdict for n, verdict, _ in verdicts if n == name]
        lines.append(f"- {name}: {of_name.count('met')} of {len(of_name)} met")
        lines += [f"  - {verdict}: {words}" for n, verdict, words in verdicts if n == name and verdict != "met"]
    lines += [f"- CLAIM FAILED, none of its goals is counted: {name}" for name in failed]
    return "\n".join(lines + [""])


def draw(plot, folder):
    """Writes folder/NAME.png."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(9, 5))
    for label, (xs, ys) in plot.lines.items():
        axes.plot(xs, ys, label=label, **({"marker": ".", "linestyle": ""} if plot.style == "points" else {"marker": "."}))
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    if plot.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(os.path.join(folder, plot.name + ".png"), dpi=110)
    pyplot.close(figure)


def write(table, folder, circumstances):
    """Writes CLAIM.json (with the circumstances of the run), adds to report.md, and draws the plots."""
    with open(os.path.join(folder, table.claim + ".json"), "a") as file:
        file.write(json.dumps({**table.json(), "circumstances": circumstances}) + "\n")
    with open(os.path.join(folder, "report.md"), "a") as file:
        file.write(table.markdown() + "\n")
    for plot in table.plots:
        draw(plot, folder)
