"""SIGINT and SIGTERM while a stream runs: it may end within the drain limit, then it is cut with an error event; a second
signal ends a program at once."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from cluster import Cluster, wait_for

UP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy", "local", "up")
ENDLESS = {"prompt": "Once upon a time", "max_tokens": 1800, "ignore_eos": True, "temperature": 0}


class Running:
    """A stream read by a thread of its own; `events` are its events, [DONE] included."""

    def __init__(self, port, body):
        self.events = []
        self.first = threading.Event()
        self.thread = threading.Thread(target=self.read, args=(port, body))
        self.thread.start()
        assert self.first.wait(60)

    def read(self, port, body):
        text = json.dumps({**body, "stream": True})
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" %
                                (len(text), text)).encode())
            try:
                for line in connection.makefile("rb"):
                    if line.startswith(b"data: "):
                        self.events.append(line[6:].strip().decode())
                        self.first.set()
                    if self.events[-1:] == ["[DONE]"]:
                        return
            except ConnectionResetError:  # by a program that ended at once
                pass

    def end(self, limit_s):
        self.thread.join(limit_s)
        assert not self.thread.is_alive(), "the stream has ended"

    def expect_cut(self, reason, limit_s=15):
        self.end(limit_s)
        assert self.events[-1] == "[DONE]", self.events[-2:]
        error = json.loads(self.events[-2])["error"]
        assert reason in error["message"] and error["code"] == 503, error


def seconds_to_end(process, limit_s=20):
    began = time.monotonic()
    code = process.popen.wait(limit_s)
    return time.monotonic() - began, code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_router_lets_a_stream_end_within_the_drain_limit(number):
    with Cluster(prefill=0) as cluster:
        running = Running(cluster.port, {**ENDLESS, "max_tokens": 60})
        cluster.router.kill(number)
        running.end(20)
        assert running.events[-1] == "[DONE]"
        assert json.loads(running.events[-2])["choices"][0]["finish_reason"] == "length"
        assert cluster.router.popen.wait(20) == 0


def test_router_cuts_what_outlives_the_drain_limit_with_an_error():
    with Cluster(prefill=0, arguments={"router": ["--drain-limit", "300ms"]}) as cluster:
        running = Running(cluster.port, ENDLESS)
        cluster.router.kill(signal.SIGINT)
        took_s, code = seconds_to_end(cluster.router)
        running.expect_cut("the router is shutting down")
        assert code == 0 and took_s < 3, (code, took_s)
        # What the stream held on its worker is free again.
        cluster.expect_only_free_and_cached()


def test_second_signal_ends_the_router_at_once():
    with Cluster(prefill=0) as cluster:
        running = Running(cluster.port, ENDLESS)
        cluster.router.kill(signal.SIGINT)
        wait_for(lambda: "stopping" in cluster.router.log(), 5, "the router drains")
        wait_for(lambda: cluster.router.popen.send_signal(signal.SIGINT) or cluster.router.popen.poll() is not None, 2,
                 "it has ended")
        running.end(5)


def test_decode_worker_cuts_what_outlives_the_drain_limit_with_an_error():
    with Cluster(prefill=0, arguments={"decode": ["--drain-limit", "300ms"]}) as cluster:
        running = Running(cluster.port, ENDLESS)
        worker = cluster.workers["decode-0"]
        worker.kill(signal.SIGINT)
        took_s, code = seconds_to_end(worker)
        running.expect_cut("decode worker decode-0 lost")
        assert code == 0 and took_s < 5, (code, took_s)


def test_second_signal_ends_a_decode_worker_at_once():
    with Cluster(prefill=0) as cluster:
        running = Running(cluster.port, ENDLESS)
        worker = cluster.workers["decode-0"]
        worker.kill(signal.SIGINT)
        wait_for(lambda: "draining" in worker.log(), 5, "the worker drains")
        worker.kill(signal.SIGINT)
        took_s, code = seconds_to_end(worker)
        running.expect_cut("decode worker decode-0 lost")
        assert code == 0 and took_s < 4, (code, took_s)


def test_ctrl_c_of_up_cuts_a_running_stream_soon():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    up = subprocess.Popen([UP, "--port", str(port), "--threads", "1", "--drain", "1"], stdout=subprocess.PIPE, text=True,
                          start_new_session=True)
    try:
        for line in up.stdout:
            if "Ctrl-C stops everything" in line:
                break
        running = Running(port, ENDLESS)
        began = time.monotonic()
        os.killpg(up.pid, signal.SIGINT)
        running.expect_cut("the router is shutting down", 8)
        assert up.wait(8) == 0
        assert time.monotonic() - began < 6
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGINT)
            up.wait(20)
        up.stdout.close()
