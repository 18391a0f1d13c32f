"""Clients that go away at any moment: nothing stays behind on any process, and blocks are given back soon."""
import http.client
import json
import random
import threading
import time

import pytest

from accounts import expect_given_back, histogram, histogram_quantile, holdings, spans_since
from cluster import Cluster
from figures import LONG, figure
from prompts import ENGLISH
from streams import body, stream

REQUESTS = 10000 if LONG else 500
CLIENTS = 24
LIMIT_S = 0.25
SPAN = "tandem_cancel_to_free_seconds"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(prefill=1, decode=1) as running:
        yield running


def leave_early(cluster, request, after_s):
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps({**request, "stream": True}).encode(),
                       {"Content-Type": "application/json"})
    time.sleep(after_s)  # the moment of leaving is what is tested
    connection.close()


def many(cluster, count, make, longest_s, seed):
    """`count` cancelled requests, CLIENTS at a time."""
    dice = random.Random(seed)
    plans = [(make(dice), dice.uniform(0, longest_s)) for _ in range(count)]
    failures = []

    def client():
        while plans:
            try:
                request, after_s = plans.pop()
            except IndexError:
                return
            try:
                leave_early(cluster, request, after_s)
            except Exception as error:  # told by the test
                failures.append(error)
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]


def short_or_long(dice):
    words = ENGLISH * 9 if dice.random() < 0.05 else ENGLISH[:dice.randrange(20, 200)]
    return body(prompt="%d. %s" % (dice.randrange(10**9), words), max_tokens=200, logprobs=None)


def cancelled(cluster):
    return {name: sum(v for k, v in worker.metrics().items() if k.startswith("tandem_requests_cancelled_total"))
            for name, worker in cluster.workers.items()}


@pytest.fixture(scope="module")
def after_many(cluster):
    """What was held before and how often each worker was cancelled, after REQUESTS cancelled requests."""
    many(cluster, 60, short_or_long, 0.3, seed=0)  # all threads and connections that stay exist from here on
    golden = stream(cluster, body())
    time.sleep(1)  # for a scrape after the last turn
    before, spans = holdings(cluster), {n: histogram(w, SPAN) for n, w in cluster.workers.items()}
    counts = cancelled(cluster)
    started = time.monotonic()
    many(cluster, REQUESTS, short_or_long, 0.4, seed=1)
    return before, spans, counts, golden, time.monotonic() - started


def test_nothing_is_left_on_any_process(cluster, after_many):
    before, _, _, golden, seconds = after_many
    expect_given_back(cluster, before, slack=1)
    stream(cluster, body()).expect_same_as(golden, "after all those")
    figure("%d requests cancelled in %.0f s: nothing left on %s", REQUESTS, seconds,
           ", ".join(sorted({name for name, _ in before})))


def p99(cluster, spans, what):
    """The highest p99 of the workers' spans since; each is a bucket's upper bound."""
    time.sleep(1)  # for a scrape after the last turn
    bounds = []
    for name, worker in cluster.workers.items():
        bound, count = histogram_quantile(spans_since(worker, SPAN, spans[name]), 0.99)
        assert count > 0, name
        figure("%s, %s: %d spans from cancel to free, p99 at most %g s", name, what, count, bound)
        bounds.append(bound)
    return max(bounds)


def test_every_cancel_is_counted(cluster, after_many):
    _, spans, counts, _, _ = after_many
    for name, worker in cluster.workers.items():
        _, count = histogram_quantile(spans_since(worker, SPAN, spans[name]), 0.99)
        assert count == cancelled(cluster)[name] - counts[name] > 0, name


def test_blocks_come_free_soon(cluster, after_many):
    assert p99(cluster, after_many[1], "short and long prompts") <= LIMIT_S


def test_blocks_come_free_soon_while_a_long_step_runs(cluster):
    """Prompts of two 512-token steps, cancelled while these run."""
    spans = {n: histogram(w, SPAN) for n, w in cluster.workers.items()}

    def long_prompt(dice):
        return body(prompt="%d. %s" % (dice.randrange(10**9), ENGLISH * 27), max_tokens=8, logprobs=None)
    before = holdings(cluster)
    many(cluster, REQUESTS // 10, long_prompt, 1.5, seed=2)
    expect_given_back(cluster, before)
    assert p99(cluster, spans, "prompts of two 512-token steps") <= LIMIT_S
