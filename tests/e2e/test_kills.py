"""kill -9 of workers at random moments: the answer does not change, and every block is accounted for."""
import json
import random
import signal
import threading
import time

import pytest

from cluster import Cluster, wait_for
from prompts import ENGLISH

SEEDS = 20
LENGTH = 32


def prompt_of(seed):
    return "Story %d. " % seed + ENGLISH * 8


@pytest.fixture(scope="module")
def undisturbed():
    with Cluster(prefill=0) as cluster:
        return {seed: cluster.complete(prompt_of(seed), LENGTH, ignore_eos=True)[0] for seed in range(SEEDS)}


def streamed(cluster, seed, on_event=None):
    events = cluster.events("/v1/completions", {
        "prompt": prompt_of(seed), "max_tokens": LENGTH, "temperature": 0, "ignore_eos": True,
        "return_token_ids": True, "stream_options": {"include_usage": True}}, on_event)
    errors = [e["error"] for e in events if "error" in e]
    if errors:
        return errors[0], None
    ids = [t for e in events for c in e["choices"] for t in c.get("token_ids") or []]
    assert events[-1]["usage"]["completion_tokens"] == len(ids)
    return None, ids


def test_prefill_worker_killed_before_during_or_after_the_push(undisturbed):
    with Cluster(prefill=2, decode=1, arguments={"prefill": ["--chunk-tokens", "64"]}) as cluster:
        for seed in range(SEEDS):
            dice = random.Random(seed)
            victim = "prefill-%d" % dice.randrange(2)
            timer = threading.Timer(dice.uniform(0, 1.2), lambda: cluster.workers[victim].kill())
            timer.start()
            error, ids = streamed(cluster, seed)
            timer.join()
            assert error is None and ids == undisturbed[seed], "seed %d" % seed
            cluster.expect_only_free_and_cached()
            cluster.revive()


def test_only_prefill_worker_killed(undisturbed):
    with Cluster(prefill=1, decode=1, arguments={"prefill": ["--chunk-tokens", "64"]}) as cluster:
        for seed in range(SEEDS):
            timer = threading.Timer(random.Random(seed).uniform(0, 1.2),
                                    lambda: cluster.workers["prefill-0"].kill())
            timer.start()
            error, ids = streamed(cluster, seed)
            timer.join()
            assert error is None and ids == undisturbed[seed], "seed %d" % seed
            cluster.expect_only_free_and_cached()
            cluster.revive()


def test_killed_decode_workers_streams_continue_on_another(undisturbed):
    with Cluster(prefill=1, decode=2) as cluster:
        for seed in range(SEEDS):
            at = random.Random(seed).choice([0, 1, 2, LENGTH // 2, LENGTH - 2])

            def kill_the_busy_one(event):
                if event != at:
                    return
                for name in ("decode-0", "decode-1"):
                    worker = cluster.workers[name]
                    if worker.popen.poll() is None and worker.blocks()["filling"] > 0:
                        worker.kill()
                        return
            error, ids = streamed(cluster, seed, kill_the_busy_one)
            assert error is None and ids == undisturbed[seed], "seed %d" % seed
            cluster.expect_only_free_and_cached()
            cluster.revive()


def test_stream_of_the_only_decode_worker_ends_with_an_error_event():
    with Cluster(prefill=1, decode=1) as cluster:
        for seed in range(SEEDS):
            at = random.Random(seed).choice([0, 1, 2, LENGTH // 2])
            error, _ = streamed(cluster, seed,
                                lambda i: cluster.workers["decode-0"].kill() if i == at else None)
            assert error is not None and error["message"]
            cluster.expect_only_free_and_cached()
            cluster.revive()


def test_client_that_goes_away_frees_everything(undisturbed):
    import http.client
    with Cluster(prefill=1, decode=1, arguments={"prefill": ["--chunk-tokens", "64"]}) as cluster:
        for seed in range(SEEDS):
            connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=30)
            connection.request("POST", "/v1/completions", json.dumps({
                "prompt": prompt_of(seed), "max_tokens": 400, "ignore_eos": True, "stream": True}).encode(),
                {"Content-Type": "application/json"})
            time.sleep(random.Random(seed).uniform(0, 1.0))  # the moment of leaving is what is tested
            connection.sock.close()
            cluster.expect_only_free_and_cached()
            for worker in cluster.workers.values():
                wait_for(lambda: sum(v for k, v in worker.metrics().items()
                                     if k.startswith("tandem_requests_running")) == 0, 10, "nothing runs")


def test_stopped_prefill_worker_is_replaced_and_its_late_data_refused(undisturbed):
    with Cluster(prefill=1, decode=1, arguments={"prefill": ["--chunk-tokens", "64"]}) as cluster:
        for seed in range(3):
            timer = threading.Timer(0.3, lambda: cluster.workers["prefill-0"].kill(signal.SIGSTOP))
            timer.start()
            error, ids = streamed(cluster, seed)
            timer.join()
            cluster.workers["prefill-0"].kill(signal.SIGCONT)
            assert error is None and ids == undisturbed[seed]
            cluster.wait_for_workers(2)
            cluster.expect_only_free_and_cached()
