"""A prefill worker that is killed or stopped at any chunk of a push: the stream is the undisturbed one, every block is
accounted for, and a stream beside it notices nothing."""
import signal
import threading
import time

import pytest

from cluster import Cluster, wait_for
from figures import LONG, figure
from prompts import ENGLISH
from streams import Stream, body, booked_by, stream

CHUNKS = 7
PROMPT = "A long story. " + ENGLISH * 12  # about 470 tokens: that many chunks of 64


@pytest.fixture(scope="module")
def cluster():
    with Cluster(prefill=2, decode=1, arguments={"prefill": ["--chunk-tokens", "64"]}) as running:
        yield running


@pytest.fixture(scope="module")
def golden(cluster):
    found = stream(cluster, pushed())
    assert found.error is None
    return found


def pushed():
    return body(prompt=PROMPT, max_tokens=8, seed=5, temperature=0.8)


def beside():
    """Long enough to be running all the while, short enough to need no prefill worker."""
    return body(prompt="Once upon a time", max_tokens=60)


def landed_chunks(cluster, trace_id):
    lines = cluster.workers["decode-0"].log().splitlines()
    return sum("chunk landed" in line and "request=" + trace_id in line for line in lines)


def when_landed(cluster, trace_id, chunks, act):
    """Calls act(the prefill worker of the request) once so many chunks have landed; 0: once it has offered."""
    worker = wait_for(lambda: booked_by(cluster, trace_id, "prefill"), 60, "a prefill worker has the job")
    deadline = time.monotonic() + 60
    while landed_chunks(cluster, trace_id) < chunks:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    act(worker)


def run_disturbed(cluster, chunks, act):
    watched, neighbour = Stream(), Stream()
    threads = [threading.Thread(target=when_landed, args=(cluster, watched.trace_id, chunks, act)),
               threading.Thread(target=stream, args=(cluster, beside()), kwargs={"stream_object": neighbour})]
    for thread in threads:
        thread.start()
    stream(cluster, pushed(), stream_object=watched)
    for thread in threads:
        thread.join()
    return watched, neighbour


@pytest.fixture(scope="module")
def quiet_neighbour(cluster):
    return stream(cluster, beside())


@pytest.mark.parametrize("chunks", range(CHUNKS + 1) if LONG else (0, 1, 3, CHUNKS))
def test_killed_after_so_many_chunks(cluster, golden, quiet_neighbour, chunks):
    restarts = cluster.router_metric("tandem_decode_restarts_total")
    watched, neighbour = run_disturbed(cluster, chunks, lambda worker: worker.kill())
    watched.expect_same_as(golden, "killed after %d chunks" % chunks)
    neighbour.expect_same_as(quiet_neighbour, "the stream beside it")
    assert cluster.router_metric("tandem_decode_restarts_total") == restarts
    cluster.revive()
    cluster.expect_only_free_and_cached()
    figure("prefill worker killed after %d chunks: first token after %.2f s (undisturbed %.2f s)", chunks,
           watched.first_token_s(), golden.first_token_s())


def refused(worker):
    """All messages and segments that a worker dropped because nobody may send them any more."""
    return sum(v for k, v in worker.metrics().items()
               if k.startswith(("tandem_fenced_messages", "tandem_ticket_reject", "tandem_stale_messages")))


@pytest.mark.parametrize("chunks", range(CHUNKS) if LONG else (0, 2))
def test_stopped_in_the_middle_of_a_push_then_woken(cluster, golden, quiet_neighbour, chunks):
    before = refused(cluster.workers["decode-0"])
    stopped = []

    def stop(worker):
        worker.kill(signal.SIGSTOP)
        stopped.append(worker)
    try:
        watched, neighbour = run_disturbed(cluster, chunks, stop)
    finally:
        for worker in stopped:
            worker.kill(signal.SIGCONT)
    watched.expect_same_as(golden, "stopped after %d chunks" % chunks)
    neighbour.expect_same_as(quiet_neighbour, "the stream beside it")
    cluster.wait_for_workers(3)
    cluster.expect_only_free_and_cached()
    figure("prefill worker stopped after %d chunks: first token after %.2f s (undisturbed %.2f s); %d of its late "
           "messages refused", chunks, watched.first_token_s(), golden.first_token_s(),
           refused(cluster.workers["decode-0"]) - before)
    again = stream(cluster, pushed())
    again.expect_same_as(golden, "after the zombie rejoined")
