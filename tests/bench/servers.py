"""The servers that are measured: clusters of ours, and peers. Each has `name`, `target` (address and port) and is a context
manager. They may run side by side: none of them uses a core while it has no request."""
import contextlib
import json
import os
import shutil
import subprocess
import time

import cluster
from report import median

IDLE_SPAN_S, IDLE_LIMIT_S = 0.5, 60
KV_BLOCKS = 9216  # 147,456 tokens: 32 streams of 4k and their outputs fit


class Ours:
    """One router, `prefill` prefill workers and `decode` decode workers with `threads` compute threads each.
    `decode_flags`: further ones of the decode workers."""

    def __init__(self, name, prefill, decode, threads, environment=None, decode_flags=(), **flags):
        self.name = name
        shared = ["--kv-blocks", str(KV_BLOCKS // (prefill + decode))]
        self._make = lambda: cluster.Cluster(
            prefill, decode, environment=environment, threads=threads,
            arguments={"prefill": shared, "decode": shared + list(decode_flags), "router": flags.get("router", [])})

    def __enter__(self):
        self.cluster = self._make()
        self.cluster.__enter__()
        self.target = f"127.0.0.1:{self.cluster.port}"
        return self

    def __exit__(self, *_):
        self.cluster.__exit__()
        shutil.rmtree(self.cluster.folder, ignore_errors=True)

    def processes(self):
        """{name: process id}."""
        return {p.name: p.popen.pid for p in [self.cluster.router, *self.cluster.workers.values()]}

    def cpu_seconds(self):
        """Processor time of all its processes so far."""
        total = 0
        for pid in self.processes().values():
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def colocated(**more):
    return Ours("ours, 1 worker for both, 2 threads", 0, 1, 2, **more)


def disaggregated(**more):
    return Ours("ours, 1 prefill + 1 decode, 1 thread each", 1, 1, 1, **more)


class Llama:
    """llama.cpp's server out of PyPI's xllamacpp, as peers/llama_server.py starts it."""

    def __init__(self, context, name, model, **settings):
        self.name = name
        self._command = [os.path.join(context.peers, "bin", "python"),
                         os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "llama_server.py"),
                         json.dumps({"model": model, **settings})]
        self._log = os.path.join(context.out, "llama.log")

    def __enter__(self):
        self._file = open(self._log, "ab")
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=self._file)
        for line in self._process.stdout:  # other lines may be the library's own
            if line.startswith(b"listening "):
                self.target = line.split()[1].decode()
                return self
        self.__exit__()
        raise RuntimeError(f"{self.name} did not start; see {self._log}")

    def __exit__(self, *_):
        _end(self._process)
        self._file.close()


def _end(process):
    process.stdin.close()  # which ends it
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


class LlamaApi:
    """llama.cpp compiled for this processor and called without a server (peers/llama_native.py): nothing cached. It has no
    `target`: time() stands for requests that come at once."""
    target = None

    def __init__(self, context, name, model, sequences=1, tokens=8192):
        """`tokens` of each of `sequences`."""
        self.name = name
        settings = {"model": model, "threads": 2, "sequences": sequences, "tokens": tokens, "flash": True}
        self._command = [os.path.join(context.peers, "bin", "python"),
                         os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "llama_native.py"),
                         json.dumps(settings)]
        self._log = os.path.join(context.out, "llama.log")

    def __enter__(self):
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, stderr=log, text=True)
        if self._process.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError(f"{self.name} did not start; see {self._log}")
        return self

    def __exit__(self, *_):
        _end(self._process)

    def time(self, prompts, steps=0):
        """Seconds that the prompts (token ids) took together, and `steps` tokens after each of them."""
        self._process.stdin.write(json.dumps({"prompts": prompts, "steps": steps}) + "\n")
        self._process.stdin.flush()
        took = json.loads(self._process.stdout.readline())
        return took["prompts_s"], took["steps_s"]


def q4_0(context):
    """The default model requantized to llama.cpp's fastest form: a bar of speed, not of quality. Made once."""
    path = os.path.join(context.cache, os.path.basename(context.model).replace(".gguf", "") + ".requantized-Q4_0.gguf")
    if not os.path.exists(path):
        context.say("requantizing the model to Q4_0")
        folder = os.path.dirname(os.path.abspath(__file__))
        subprocess.run([os.path.join(context.peers, "bin", "python"), os.path.join(folder, "peers", "requantize.py"),
                        context.model, path + ".part"], check=True)
        os.rename(path + ".part", path)
    return path


LLAMA = "llama.cpp, same file"
LLAMA_FASTEST = "llama.cpp, Q4_0"
NATIVE = " through its API"


def peers(context, **settings):
    """The peers of most claims, not started; none without --peers."""
    if not context.peers:
        return []
    return [Llama(context, LLAMA, context.model, **settings), Llama(context, LLAMA_FASTEST, q4_0(context), **settings)]


def native_peers(context, **settings):
    """The same two files without a server, not started; none without --peers."""
    if not context.peers:
        return []
    return [LlamaApi(context, LLAMA + NATIVE, context.model, **settings),
            LlamaApi(context, LLAMA_FASTEST + NATIVE, q4_0(context), **settings)]


def best(samples, name):
    """The best median of a peer's forms: its server, and without it where that was measured. None without either."""
    return max((median(samples[n]) for n in (name, name + NATIVE) if samples.get(n)), default=None)


@contextlib.contextmanager
def running(*servers):
    """All of them, started, and done with what they do then."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(s) for s in servers]
        _wait_until_idle([s for s in started if isinstance(s, Ours)])
        yield started


def _wait_until_idle(found):
    """After its start a worker still readies the memory of its cache for some seconds."""
    deadline = time.monotonic() + IDLE_LIMIT_S
    while time.monotonic() < deadline:
        before = sum(s.cpu_seconds() for s in found)
        time.sleep(IDLE_SPAN_S)  # the span over which they are watched
        if sum(s.cpu_seconds() for s in found) - before < 0.1 * IDLE_SPAN_S:
            return
    raise RuntimeError(f"{', '.join(s.name for s in found)}: still busy {IDLE_LIMIT_S} s after the start")
