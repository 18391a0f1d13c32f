"""When requests arrive and how long they are: drawn, or read from recorded traces. A trace is a list of Arrival, from 0 on."""
import csv
import dataclasses
import datetime
import json
import math
import random

MEAN_PROMPT, MEAN_OUTPUT = 400, 40
LONGEST_PROMPT, LONGEST_OUTPUT = 2800, 160
SHORTEST_PROMPT, SHORTEST_OUTPUT = 80, 4  # shorter prompts need no prefill worker
SPREAD = 0.7  # sigma of the lognormal lengths
BURST_CV2 = 9.0  # squared coefficient of variation of the gaps of bursty arrivals


@dataclasses.dataclass
class Arrival:
    at: float  # seconds
    prompt: int  # tokens
    output: int


def _length(value, shortest, longest):
    return max(shortest, min(longest, round(value)))


def drawn(rate, span_s, seed, bursty=False):
    """Poisson arrivals, or gaps of a gamma distribution three times as uneven; lognormal lengths."""
    draw = random.Random(f"{rate} {seed} {bursty}")
    shape = 1 / BURST_CV2 if bursty else 1.0
    found, at = [], 0.0
    while True:
        at += draw.gammavariate(shape, 1 / (rate * shape))
        if at >= span_s:
            return found
        factor = math.exp(-SPREAD * SPREAD / 2)  # so that the mean is the mean
        found.append(Arrival(at, _length(MEAN_PROMPT * factor * draw.lognormvariate(0, SPREAD), SHORTEST_PROMPT, LONGEST_PROMPT),
                             _length(MEAN_OUTPUT * factor * draw.lognormvariate(0, SPREAD), SHORTEST_OUTPUT, LONGEST_OUTPUT)))


def _mooncake(file):
    for line in file:
        seen = json.loads(line)
        yield seen["timestamp"] / 1e3, seen["input_length"], seen["output_length"]


def _azure(file):
    for row in csv.DictReader(file):
        at = datetime.datetime.strptime(row["TIMESTAMP"].strip()[:26], "%Y-%m-%d %H:%M:%S.%f")
        yield (at - datetime.datetime(1970, 1, 1)).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"])


def read(path):
    """All requests of a trace: CSV as Azure publishes them, or JSON lines as Mooncake does."""
    with open(path) as file:
        is_json = file.read(1) == "{"
        file.seek(0)
        return sorted((Arrival(*a) for a in (_mooncake if is_json else _azure)(file)), key=lambda a: a.at)


def scaled(trace, rate, span_s, seed):
    """A stretch of the trace whose times are squeezed to `rate` and whose lengths are scaled to this suite's means: the
    arrivals keep their unevenness, the lengths their spread up to the longest that are allowed here."""
    count = min(len(trace), max(2, round(rate * span_s)))
    first = random.Random(f"{seed}").randrange(len(trace) - count + 1)
    part = trace[first:first + count]
    squeeze = span_s / max(1e-9, part[-1].at - part[0].at)
    prompt = MEAN_PROMPT * len(trace) / sum(a.prompt for a in trace)
    output = MEAN_OUTPUT * len(trace) / sum(a.output for a in trace)
    return [Arrival((a.at - part[0].at) * squeeze, _length(a.prompt * prompt, SHORTEST_PROMPT, LONGEST_PROMPT),
                    _length(a.output * output, SHORTEST_OUTPUT, LONGEST_OUTPUT)) for a in part]


class FreshPrompts:
    """Prompts that no cache knows, without asking a server for each: random tokens out of `vocabulary`."""

    def __init__(self, vocabulary, seed):
        self._vocabulary = vocabulary
        self._draw = random.Random(f"{seed}")

    def tokens(self, count):
        return self._draw.choices(self._vocabulary, k=count)
