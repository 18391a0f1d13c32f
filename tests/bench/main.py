"""Runs the claims one after another; see tests/bench/run for the arguments and README.md for how to read the results."""
import argparse
import dataclasses
import importlib
import os
import signal
import sys
import time
import traceback

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [FOLDER, os.path.join(os.path.dirname(FOLDER), "e2e")]

import machine  # noqa: E402
import report  # noqa: E402

# In this order; a claim has to be named here to be found.
CLAIMS = ["decode", "prefill", "cached", "eight", "stall", "lanes", "router", "push", "goodput", "soak"]
ON_REQUEST = {"soak"}  # runs with --only alone


@dataclasses.dataclass
class Context:
    """What a claim is handed. claims/NAME.py has run(context) -> list of report.Table."""
    quick: bool
    peers: str | None  # folder of the peers' virtual environment; None: measure no peers
    out: str  # folder of the results; a claim may write further files into it
    build: str  # build/release of this repository
    bin: str  # the three programs
    model: str
    cache: str  # for what is kept between runs
    ucx: str  # folder of the UCX installation
    machine: machine.Machine
    trace: str | None = None  # a recorded trace; None: a synthetic one
    minutes: float = 30  # of a soak

    @property
    def repeats(self):
        """Interleaved rounds of a claim."""
        return 3 if self.quick else 5

    def say(self, text):
        """Progress, for the person who waits."""
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def present():
    return [c for c in CLAIMS if os.path.exists(os.path.join(FOLDER, "claims", c + ".py"))]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", action="append", choices=present())
    parser.add_argument("--out", metavar="FOLDER")
    parser.add_argument("--trace", metavar="FILE")
    parser.add_argument("--minutes", type=float, default=30)
    given = parser.parse_args()
    if given.quick and given.peers:
        parser.error("--quick measures no peers")
    return given


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started ends
    given = arguments()
    root = os.path.dirname(os.path.dirname(FOLDER))
    out = given.out or os.path.join(root, "build", "bench", time.strftime("%Y%m%d-%H%M%S"))
    os.makedirs(out, exist_ok=True)
    names = given.only or [c for c in present() if c not in ON_REQUEST]
    host = machine.Machine(os.environ["BENCH_BUILD"], quick=given.quick)
    context = Context(
        quick=given.quick, peers=os.environ.get("BENCH_PEERS"), out=out, build=os.environ["BENCH_BUILD"], bin=os.environ["TANDEM_TEST_BIN"],
        model=os.environ["TANDEM_TEST_MODEL"], cache=os.environ["BENCH_CACHE"], ucx=os.environ["BENCH_UCX"],
        machine=host, trace=given.trace, minutes=given.minutes)
    circumstances = host.circumstances(root)
    opening = machine.opening(circumstances)
    print(opening)
    with open(os.path.join(out, "report.md"), "a") as file:
        file.write(opening + "\n")
    failed, finished = [], []
    for name in names:
        context.say(f"claim {name}")
        before = host.load()
        watch = machine.Watch(host.cores)
        try:
            tables = importlib.import_module("claims." + name).run(context)
            for table in tables:
                table.notes.append(f"{watch.words()}; before the run {before}")
                print(table.markdown(), flush=True)
                report.write(table, out, {**circumstances, "load_before": before})
        except Exception:  # one claim that fails must not cost the others
            traceback.print_exc()
            failed.append(name)
            continue
        finished += tables
    goals = report.summary(finished, failed)
    print(goals)
    with open(os.path.join(out, "report.md"), "a") as file:
        file.write(goals + "\n")
    print(f"results: {out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
