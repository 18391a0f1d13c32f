"""The machine a run took place on: what it is, how busy it was, and what it could reach at best."""
import functools
import json
import os
import resource
import shlex
import subprocess
import sys
import time

IDLE_SPAN_S = 1.0


def _first(path, key):
    with open(path) as file:
        for line in file:
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return ""


def _busy_seconds():
    """Processor seconds that all cores spent working or were withheld by the host, since boot."""
    with open("/proc/stat") as file:
        fields = [int(f) for f in file.readline().split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _withheld_seconds():
    """Processor seconds of all cores that the host gave to others while something here wanted to run, since boot."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def _own_seconds():
    """Processor seconds of this process and of all that it started and that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Watch:
    """What else the cores did from its making to words(), when everything that was started meanwhile has ended."""
    BUSY = 0.05  # share of the cores that others may use

    def __init__(self, cores):
        self._cores = cores
        self._began = self._now()

    @staticmethod
    def _now():
        return time.monotonic(), _withheld_seconds(), _busy_seconds() - _withheld_seconds() - _own_seconds()

    def words(self):
        seconds, withheld, others = (after - before for after, before in zip(self._now(), self._began))
        withheld, others = (share / (seconds * self._cores) for share in (withheld, others))
        busy = " (BUSY: expect noise)" if others > self.BUSY else ""
        return (f"{seconds:.0f} s, in which the host withheld {100 * withheld:.1f} % of the cores and other programs and the kernel used "
                f"{100 * max(0.0, others):.1f} %{busy}")


class Machine:
    def __init__(self, build, quick=False):
        self._build = build
        self._quick = quick
        self.cores = len(os.sched_getaffinity(0))

    def load(self):
        """How busy the cores are right now, in words. A claim measured on a busy machine says so."""
        before = _busy_seconds()
        time.sleep(IDLE_SPAN_S)  # the span over which the cores are watched
        share = (_busy_seconds() - before) / IDLE_SPAN_S
        verdict = "idle" if share < 0.15 else "BUSY: expect noise"
        return f"{share:.2f} of {self.cores} cores were in use ({verdict}), load average {os.getloadavg()[0]:.2f}"

    def circumstances(self, root):
        def git(*arguments):
            done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True)
            return done.stdout.strip() if done.returncode == 0 else "unknown"
        return {
            "cpu": _first("/proc/cpuinfo", "model name"),
            "cores": self.cores,
            "memory": _first("/proc/meminfo", "MemTotal"),
            "kernel": os.uname().release,
            "commit": git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain") else ""),
            "command": shlex.join(["tests/bench/run", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "load": self.load(),
        }

    @functools.cached_property
    def ceilings(self):
        """Measured once per run by the program machine_ceilings: {name: value}, rates in GB/s (10^9 bytes) and GOP/s:
        read_1, read_2 (reading more than the caches hold, with 1 and 2 threads), memcpy_cold, int8_1, int8_2, tcp, tcp_spinning."""
        program = os.path.join(self._build, "tests", "bench", "machine_ceilings")
        done = subprocess.run([program, "0.3" if self._quick else "1"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def opening(circumstances):
    lines = ["# Tandem bench", ""] + [f"- {name}: {value}" for name, value in circumstances.items()]
    return "\n".join(lines) + "\n"
