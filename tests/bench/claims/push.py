"""A push between two processes of one host against what copying memory and a TCP stream reach here, its cost, and how long the
end of a push keeps a prompt waiting after its prefill."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "push_peers"))

import engines  # noqa: E402
import load  # noqa: E402
import prompts  # noqa: E402
import servers  # noqa: E402
from report import Goal, Row, Table  # noqa: E402

TCP = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo"}
# What our transport sets by itself; UCX's own choice of small segments would be no bar.
PERFTEST_TCP = {**TCP, "UCX_TCP_TX_SEG_SIZE": "1m", "UCX_TCP_RX_SEG_SIZE": "1m"}
SEGMENT, MESSAGES = 786432, 4000
PROMPT, PROMPTS = 1024, 9
ROUNDS = 3
MEMCPY = ("memcpy_cold", "cold memcpy, 1 thread")
RAW_TCP = ("tcp", "raw TCP stream of cold memory, blocking sockets")
SPINNING_TCP = ("tcp_spinning", "the same, both sides never sleeping")


def push(context, environment):
    folder = os.path.join(context.build, "tests", "common", "transfer")
    plain = {k: v for k, v in os.environ.items() if k != "UCX_TLS"}
    done = subprocess.run([os.path.join(folder, "push_bandwidth"), os.path.join(folder, "transfer_peer")],
                          capture_output=True, text=True, check=True, env={**plain, **environment})
    lines = done.stdout.splitlines()
    return {**json.loads(lines[-1]), "connected": lines[0]}


class Perftest:
    """UCX's own benchmark out of the installed wheel, between two processes in a network of their own: it listens on every
    address. None of it where it cannot be run."""

    def __init__(self, context):
        self._ucx = context.ucx
        self._folder = tempfile.mkdtemp(prefix="tandem-perftest-")

    def __enter__(self):
        program = os.path.join(self._ucx, "bin", "ucx_perftest")
        self._program = os.path.join(self._folder, "ucx_perftest")
        self.works = os.path.exists(program)
        if self.works:
            shutil.copy(program, self._program)  # the wheel's is not executable
            os.chmod(self._program, 0o755)
            self._lend_openmp()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self._folder)

    def _environment(self):
        return {**os.environ, "LD_LIBRARY_PATH": os.path.join(self._ucx, "lib") + ":" + self._folder}

    def _lend_openmp(self):
        """The wheel wants an OpenMP library under a name that only its own builders have."""
        for _ in range(2):
            done = subprocess.run([self._program, "-h"], capture_output=True, text=True, env=self._environment())
            missing = re.search(r"(libgomp\S+): cannot open", done.stderr)
            known = re.search(r"libgomp\.so\.1 .*=> (\S+)", subprocess.run(
                ["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout)
            if not missing or not known:
                break
            os.symlink(known[1], os.path.join(self._folder, missing[1]))

    def rate(self, environment):
        """[GB/s], empty when it did not run."""
        if not self.works:
            return []
        command = f"{self._program} -t ucp_am_bw -s {SEGMENT} -n {MESSAGES} -w 200 -f -v"
        script = f"ip link set lo up; {command} >/dev/null 2>&1 & sleep 1; {command} 127.0.0.1; wait"
        try:
            done = subprocess.run(["timeout", "-k", "2", "50", "unshare", "-rn", "sh", "-c", script], capture_output=True, text=True,
                                  env={**self._environment(), **environment})
        except OSError:
            return []
        for line in reversed(done.stdout.splitlines()):
            fields = line.split(",")
            if len(fields) >= 7 and fields[0].isdigit():
                return [float(fields[-3]) * 2**20 / 1e9]  # average MB/s of 2^20 over the run
        return []


def exposed(context, environment):
    """Milliseconds from the end of the last prefill step until the last block was acknowledged, of each prompt."""
    with servers.running(servers.disaggregated(environment=environment)) as (server,):
        text = prompts.Prompts(server.cluster)
        samples = []
        for i in range(-1, PROMPTS):
            asked = load.request("p", server, text.tokens(PROMPT, f"push{i}"), 2, {"tandem_timings": True})
            timings = load.send(context, [asked])["p"].timings
            if timings["kv"] != "pushed":
                raise RuntimeError(f"a prompt was not pushed: {timings}")
            if i >= 0:  # the first one connected the pair
                samples.append(timings["push_ms"])
        return samples


def rounds(context, others):
    """Ours and the transfer engines take turns. (rounds on one host, rounds over UCX's TCP)"""
    local, over_tcp = [], []
    for _ in range(ROUNDS):
        for same_host, ours, environment in ((True, local, {}), (False, over_tcp, TCP)):
            ours.append(push(context, environment))
            for name in engines.names(same_host):
                others.measure(name)
    return local, over_tcp


def rows(context, name, environment, rounds, ceiling, bar, shares, limits, peers, goals):
    """`ceiling` and `bar` (what the shares are of): key in the machine's ceilings, name in the table."""
    rates = [rate for r in rounds for rate in r["push"]]
    best, of = (context.machine.ceilings[key] for key in (ceiling[0], bar[0]))
    found = [
        Row(f"{name}: push", "GB/s", rates, peers=peers, ceiling=best, ceiling_name=ceiling[1],
            goals=[*(Goal(n, f"{100 * s:.0f} % of {bar[1]}", s * of) for n, s in zip(("must", "stretch"), shares)), *goals]),
        Row(f"{name}: processor time, both sides", "s/GiB", [r["receiver_cpu"] + r["sender_cpu"] for r in rounds], False),
        Row(f"{name}: of that the sender", "s/GiB", [r["sender_cpu"] for r in rounds], False),
        Row(f"{name}: a checksum alone, of a segment just written", "GB/s", [r["checksum"] for r in rounds]),
        Row(f"{name}: exposed time of a push, {PROMPT} tokens", "ms", exposed(context, environment), False,
            goals=[Goal(n, "fixed", limit) for n, limit in zip(("must", "stretch"), limits)])]
    return found, f"{name}: {rounds[-1]['connected']}."


def run(context):
    context.machine.ceilings  # measured before anything else runs
    others = engines.Engines(context)
    perftest_name = "ucx_perftest ucp_am_bw, 1 hot buffer, no checksum"
    with Perftest(context) as perftest:
        shared = {perftest_name: perftest.rate({"UCX_TLS": "posix,sysv,cma,self"})}
        tcp = {perftest_name: perftest.rate(PERFTEST_TCP)}
    rounds_local, rounds_tcp = rounds(context, others)
    local, local_note = rows(context, "same host", {}, rounds_local, MEMCPY, MEMCPY, (0.4, 0.6), (2, 0.3),
                             {**shared, **others.peers(True)}, others.goals(True))
    over_tcp, tcp_note = rows(context, "UCX over TCP", TCP, rounds_tcp, SPINNING_TCP, RAW_TCP, (0.6, 0.85), (5, 1),
                              {**tcp, **others.peers(False)}, others.goals(False))
    return [Table("push", "pushing KV between two processes of one host", local + over_tcp, [
        local_note, tcp_note,
        "Push: segments of 768 KiB with checksums on both sides, 72 MiB walked through on each; windows of 200 ms at the receiver.",
        "Checksums: the sender reads a segment once for its own, which is most of its processor time within the host; there the "
        "receiver's is computed while it copies, from the same loads, and reads what the sender has just brought into the shared cache: "
        "hence more than a cold memcpy.",
        *others.notes,
        "Processor time counts both processes, which sleep when idle as the transfer thread does.",
        "Exposed: from the end of the last prefill step until the prefill worker has heard that the last block landed; "
        "1 prefill + 1 decode worker, 1 thread each, all on this machine's cores."])]
