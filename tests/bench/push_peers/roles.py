"""What either side of a push by another engine does. An engine is a module with Target(segments): `description`, poll();
and Initiator(segments, description): push()."""
import json
import select
import time

from segments import BYTES, Segments

WARM_UP = 5  # pushes, the first of which connects
WINDOWS, WINDOW_S = 9, 0.2
POLL_S = 0.01
FIRST, LAST = 1, 2  # seeds of what is pushed


def _rate(initiator):
    """GB/s of whole pushes over one window."""
    start, pushes = time.monotonic(), 0
    while time.monotonic() - start < WINDOW_S:
        initiator.push()
        pushes += 1
    return pushes * BYTES / (time.monotonic() - start) / 1e9


def target(engine, asked, answer):
    """Answers how it is reached; asked anything, whether the last push has arrived, every byte of it."""
    segments = Segments()
    side = engine.Target(segments)
    answer(side.description)
    while True:
        if not select.select([asked], [], [], POLL_S)[0]:
            side.poll()
        elif asked.readline():
            answer(segments.hold(LAST))
        else:
            break


def initiator(engine, asked, answer):
    """Told how the target is reached, answers GB/s of each window once a last push of other bytes is through."""
    segments = Segments()
    segments.fill(FIRST)
    side = engine.Initiator(segments, json.loads(asked.readline()))
    for _ in range(WARM_UP):
        side.push()
    rates = [_rate(side) for _ in range(WINDOWS)]
    segments.fill(LAST)
    side.push()
    answer(rates)
    asked.read()
