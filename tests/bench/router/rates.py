"""Starts a router with its backends, loads it, and measures what it costs. Ours stands in front of instant_worker, a
production worker whose model takes no time; peers in their disaggregated modes stand in front of http_backend, which
answers as fast as it can be read. Processes run on this machine's loopback and end with the object that started them."""
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

LIBC = ctypes.CDLL(None)
START_LIMIT_S = 60


def processor_seconds(pids):
    """To the nanosecond: /proc counts in hundredths of a second, of which a paced run takes a dozen."""
    total = 0.0
    for pid in pids:
        clock = ctypes.c_int()
        if error := LIBC.clock_getcpuclockid(pid, ctypes.byref(clock)):
            raise OSError(error, os.strerror(error))
        total += time.clock_gettime(clock.value)
    return total


def resident_mb(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            total += next((int(line.split()[1]) for line in file if line.startswith("VmRSS")), 0)
    return total / 1024


def _descendants(pid):
    """`pid` and everything that it started."""
    found = [pid]
    for parent in found:
        done = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True)
        found += [int(child) for child in done.stdout.split()]
    return found


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Setup:
    """A router and what stands behind it."""

    def __init__(self, programs):
        self.programs = programs  # folder of instant_worker, http_backend, router_load, session_probe
        self.folder = tempfile.mkdtemp(prefix="router-rates-")
        self.processes = []
        self.port = None
        self.backend_port = None
        self.router_pids = []
        self.is_ours = False

    def start(self, name, command):
        log = open(os.path.join(self.folder, name + ".log"), "w")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def port_of(self, file, process):
        """The port that a process writes into `file`."""
        path = os.path.join(self.folder, file)
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and process.poll() is None:
            if os.path.exists(path):
                with open(path) as written:
                    text = written.read().strip()
                if text:
                    return int(text)
            time.sleep(0.01)  # a file has no event to wait on; the deadline above ends it
        raise RuntimeError(f"{file} did not start; see {self.folder}")

    def await_answer(self):
        """Until a completion is answered: workers have been found by then."""
        body = json.dumps({"model": "bench", "prompt": "x", "max_tokens": 1}).encode()
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", data=body,
                                             headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)  # between two tries of a program that starts; the deadline above ends them
        raise RuntimeError(f"the router did not serve; see {self.folder}")

    def load(self, connections, seconds, max_tokens, stream, words=8, warm=0.5):
        """What router_load reports, with the router's processor time while it ran."""
        command = [os.path.join(self.programs, "router_load"), str(self.port), str(connections), "0", "", str(max_tokens),
                   "stream" if stream else "whole", str(words)]

        def run(length):
            command[4] = str(length)
            done = subprocess.run(command, capture_output=True, text=True, timeout=length + 60)
            if done.returncode != 0:
                raise RuntimeError(f"router_load: {done.stderr.strip()}; see {self.folder}")
            return json.loads(done.stdout)

        run(warm)
        before = processor_seconds(self.router_pids)
        result = run(seconds)
        result["router_cpu_s"] = processor_seconds(self.router_pids) - before
        if result["failed"]:
            raise RuntimeError(f"{result['failed']} requests failed; see {self.folder}")
        return result

    def resident_mb(self):
        return resident_mb(self.router_pids)

    def sent_to_prefill(self):
        """Requests that our router has given to a prefill worker so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            found = re.search(r'^tandem_disagg_decisions_total\{.*"remote".*\} (\S+)$', answer.read().decode(), re.M)
        return float(found[1])

    def stop(self, keep_logs=False):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop(keep_logs=kind is not None)


def ours(programs, binaries, model, pace_us=0):
    """Our router, one prefill and one decode worker."""
    setup = Setup(programs)
    setup.is_ours = True
    try:
        ports = {}
        for role in ("decode", "prefill"):
            command = [os.path.join(programs, "instant_worker"), role, str(pace_us), "--model", model, "--port-file",
                       os.path.join(setup.folder, role), "--max-sequences", "1024", "--log-level", "warn"]
            if role == "decode":
                command += ["--max-batch-tokens", "4096"]
            ports[role] = setup.port_of(role, setup.start(role, command))
        router = setup.start("router", [
            os.path.join(binaries, "tandem-router"), "--model", model, "--decode", f"127.0.0.1:{ports['decode']}",
            "--prefill", f"127.0.0.1:{ports['prefill']}", "--listen-port", "0", "--port-file",
            os.path.join(setup.folder, "router"), "--served-model-name", "bench"])
        setup.port = setup.port_of("router", router)
        setup.backend_port = ports["decode"]
        setup.router_pids = [router.pid]
        setup.await_answer()
    except BaseException:
        setup.stop(keep_logs=True)
        raise
    return setup


PEER_COMMANDS = {
    "sglang-router": lambda prefill, decode: ["launch", "--pd-disaggregation", "--prefill", prefill, "9001", "--decode",
                                              decode],
    "vllm-router": lambda prefill, decode: ["--vllm-pd-disaggregation", "--kv-connector", "nixl", "--prefill", prefill,
                                            "--decode", decode],
}


def peer(name, programs, environment, pace_us=0):
    """Another router in its disaggregated mode. `environment`: the virtual environment it is installed in; "direct" is
    the backend alone."""
    setup = Setup(programs)
    try:
        def backend(role, *arguments):
            command = [os.path.join(programs, "http_backend"), os.path.join(setup.folder, role), *arguments]
            return setup.port_of(role, setup.start(role, command))
        setup.backend_port = backend("decode", str(pace_us))
        if name == "direct":
            setup.port = setup.backend_port
            setup.router_pids = [setup.processes[0].pid]
            return setup
        urls = [f"http://127.0.0.1:{port}" for port in (backend("prefill", "0", "prefill"), setup.backend_port)]
        setup.port = _free_port()
        router = setup.start("router", [
            os.path.join(environment, "bin", name), *PEER_COMMANDS[name](*urls), "--host", "127.0.0.1", "--port",
            str(setup.port), "--policy", "round_robin", "--prometheus-port", str(_free_port())])
        setup.await_answer()
        setup.router_pids = _descendants(router.pid)
    except BaseException:
        setup.stop(keep_logs=True)
        raise
    return setup


def direct_session(programs, worker_port, seconds, max_tokens):
    """A request on a session to the worker, without a router: what ours is compared with."""
    command = [os.path.join(programs, "session_probe"), str(worker_port), str(seconds), str(max_tokens)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
