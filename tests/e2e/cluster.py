"""A cluster of real processes on free ports of the loopback: what the tests in this folder run against."""
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time

BIN = os.environ["TANDEM_TEST_BIN"]
MODEL = os.environ["TANDEM_TEST_MODEL"]
START_LIMIT_S = 60


def wait_for(condition, limit_s, what):
    """Polls until condition() is true and returns its value; what did not happen is named in the error."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("not within %s s: %s" % (limit_s, what))
        time.sleep(0.02)


class Process:
    def __init__(self, folder, name, arguments, environment=None, port="0", prefix=()):
        """`prefix`: a command that runs the program, such as one that enters a namespace."""
        self.name = name
        self.host = "127.0.0.1"
        self.port_file = os.path.join(folder, name + ".port")
        self.log_path = os.path.join(folder, name + ".log")
        program = os.path.join(BIN, "tandem-" + name.split("-")[0])
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        self.log_file = open(self.log_path, "ab")
        self.popen = subprocess.Popen(
            [*prefix, program, "--model", MODEL, "--listen-port", port, "--port-file", self.port_file] + arguments,
            stdout=self.log_file, stderr=self.log_file, stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})})

    def port(self):
        def read():
            if self.popen.poll() is not None:
                raise AssertionError("%s ended: %s" % (self.name, self.log()[-2000:]))
            try:
                with open(self.port_file) as file:
                    return int(file.read() or 0)
            except FileNotFoundError:
                return 0
        return wait_for(read, START_LIMIT_S, self.name + " listens")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def kill(self, number=signal.SIGKILL):
        self.popen.send_signal(number)
        if number == signal.SIGKILL:
            self.popen.wait()

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        self.log_file.close()

    def metrics(self):
        """{name with labels: value} of the process's metrics port."""
        port = re.findall(r"metrics_port=(\d+)", self.log())[-1]
        connection = http.client.HTTPConnection(self.host, int(port), timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return {key: float(value) for key, value in re.findall(r"^([a-z]\S*(?:\{[^}]*\})?) (\S+)$", text, re.M)}

    def blocks(self):
        """KV blocks by state."""
        found = {}
        for key, value in self.metrics().items():
            match = re.match(r'tandem_kv_blocks\{.*state="(\w+)"', key)
            if match:
                found[match[1]] = int(value)
        return found


class Cluster:
    """`arguments`: {"prefill": [...], "decode": [...], "router": [...]} of further flags. `reach(name, port)` says at
    which address the router finds a worker, `prefix` is {"prefill": [...], ...} of commands that run the programs, and
    `hosts` {"prefill": address} of workers that are not on the loopback; `threads`: compute threads of each worker."""

    def __init__(self, prefill=1, decode=1, arguments=None, environment=None, reach=None, prefix=None,
                 hosts=None, threads=1):
        self.arguments = arguments or {}
        self.threads = threads
        self.environment = environment
        self.hosts = hosts or {}
        self.reach = reach or (lambda name, port: "%s:%d" % (self.workers[name].host, port))
        self.prefix = prefix or {}
        self.folder = tempfile.mkdtemp(prefix="tandem-e2e-")
        self.workers = {}
        for role, count in (("prefill", prefill), ("decode", decode)):
            for i in range(count):
                name = "%s-%d" % (role, i)
                self.workers[name] = self.new_worker(name, "0")
        self.router = None

    def new_worker(self, name, port):
        role = name.split("-")[0]
        worker = Process(self.folder, name, ["--name", name, "--threads", str(self.threads)] + self.arguments.get(role, []),
                         self.environment, port, self.prefix.get(role, ()))
        worker.host = self.hosts.get(role, worker.host)
        return worker

    def __enter__(self):
        try:
            self.start_router()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_router(self):
        lists = {}
        for name, worker in self.workers.items():
            lists.setdefault(name.split("-")[0], []).append(self.reach(name, worker.port()))
        flags = ["--decode", ",".join(lists["decode"])]
        if "prefill" in lists:
            flags += ["--prefill", ",".join(lists["prefill"])]
        self.router = Process(self.folder, "router", flags + self.arguments.get("router", []), self.environment,
                              prefix=self.prefix.get("router", ()))
        self.port = self.router.port()
        self.url = "http://127.0.0.1:%d" % self.port
        self.wait_for_workers(len(self.workers))

    def __exit__(self, *_):
        for process in [self.router, *self.workers.values()]:
            if process is not None:
                process.stop()

    def wait_for_workers(self, count):
        wait_for(lambda: self.router_metric("tandem_workers", 'state="ready"') >= count, START_LIMIT_S,
                 "%d workers are ready" % count)

    def router_metric(self, name, label=""):
        status, _, body = self.request("GET", "/metrics")
        assert status == 200
        return sum(float(v) for labels, v in re.findall(r"^%s(\{[^}]*\})? (\S+)$" % name, body.decode(), re.M)
                   if label in labels)

    def restart(self, name):
        """Starts a killed worker again on its old port."""
        old = self.workers[name]
        with open(old.port_file) as file:
            port = file.read().strip()
        self.workers[name] = self.new_worker(name, port)
        self.workers[name].port()

    def revive(self):
        """Starts all killed workers again and waits until the router has them."""
        for name, worker in list(self.workers.items()):
            if worker.popen.poll() is not None:
                self.restart(name)
        self.wait_for_workers(len(self.workers))

    def request(self, method, path, body=None, headers=None, timeout=120):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def complete(self, prompt, max_tokens=16, **fields):
        """Greedy completion: (token ids, whole answer)."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "return_token_ids": True, **fields}
        status, _, answer = self.request("POST", "/v1/completions", body)
        answer = json.loads(answer)
        assert status == 200, answer
        return answer["choices"][0]["token_ids"], answer

    def events(self, path, body, on_event=None):
        """All SSE events of a streamed request, parsed; on_event(i) is called after event i."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}).encode(),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            found = []
            while True:
                line = response.readline()
                assert line, "the stream ended without [DONE]"
                if not line.startswith(b"data: "):
                    continue
                if line.strip() == b"data: [DONE]":
                    return found
                found.append(json.loads(line[6:]))
                if on_event:
                    on_event(len(found) - 1)
        finally:
            connection.close()

    def expect_only_free_and_cached(self, limit_s=10):
        """On every living worker the block states sum to the total, and only free and cached blocks remain."""
        for name, worker in self.workers.items():
            if worker.popen.poll() is not None:
                continue
            # A worker that has just begun to serve has told nothing of its blocks yet.
            total = wait_for(lambda: sum(worker.blocks().values()), limit_s, "%s says how many blocks it has" % name)

            def settled():
                blocks = worker.blocks()
                return blocks["free"] + blocks["cached"] == total == sum(blocks.values())
            wait_for(settled, limit_s, "%s has only free and cached blocks: %s" % (name, worker.blocks()))
