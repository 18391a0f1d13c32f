"""Measured numbers, printed when the run ends."""
import os

LONG = bool(os.environ.get("FAULT_LONG"))
FIGURES = []


def figure(text, *values):
    FIGURES.append(text % values)


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
