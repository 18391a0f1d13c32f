"""A decode worker that is killed, or stopped and woken, between any two tokens: the stream is the undisturbed one."""
import signal
import threading

import pytest

from cluster import Cluster, wait_for
from figures import LONG, figure
from prompts import EMOJI
from streams import Stream, body, booked_by, stream

LENGTH = 24
CUTS = (0, 1, 2, LENGTH // 2, LENGTH - 1)


@pytest.fixture(scope="module")
def running():
    with Cluster(prefill=1, decode=2, arguments={"prefill": ["--chunk-tokens", "64"]}) as cluster:
        yield cluster


@pytest.fixture
def cluster(running):
    """With all workers alive, whatever the test before did."""
    yield running
    for worker in running.workers.values():
        if worker.popen.poll() is None:
            worker.kill(signal.SIGCONT)
    running.revive()


def greedy(**fields):
    return body(max_tokens=LENGTH, **fields)


def seeded(**fields):
    return body(max_tokens=LENGTH, temperature=0.9, top_p=0.95, seed=11, **fields)


def at_cut(cluster, request, cut, harm):
    """Streams the request; harm(worker) happens once `cut` tokens are out, at 0 as soon as it is booked."""
    watched, busy = Stream(), []

    def find():
        busy.append(wait_for(lambda: booked_by(cluster, watched.trace_id), 60, "a decode worker books the request"))
        if cut == 0:
            harm(busy[0])

    def on_tokens(n):
        if n >= cut > 0 and not done:
            finder.join()  # long over, but for the first token
            done.append(n)
            harm(busy[0])
    done = []
    finder = threading.Thread(target=find)
    finder.start()
    try:
        return stream(cluster, request, on_tokens, stream_object=watched)
    finally:
        finder.join()


def disturb(cluster, name, make, cut, harm=lambda worker: worker.kill()):
    """The gap in seconds beyond a first token's own time; None when the last token left before the worker died."""
    golden = stream(cluster, make())
    assert golden.error is None, golden.error
    restarts = cluster.router_metric("tandem_decode_restarts_total")
    hurt = at_cut(cluster, make(), cut, harm)
    hurt.expect_same_as(golden, "%s, cut after %d tokens" % (name, cut))
    in_time = cluster.router_metric("tandem_decode_restarts_total") > restarts
    # What the requirement gives, and the prompt's computation in a cluster that starts a worker beside it.
    assert hurt.longest_gap_s() < 2 + 4 * golden.first_token_s() + 1, name
    cluster.revive()
    cluster.expect_only_free_and_cached()
    return hurt.longest_gap_s() - golden.first_token_s() if in_time else None


def disturb_all(cluster, name, make, cuts):
    """Between the last tokens a worker may be done before it is dead; of several cuts some are in time."""
    gaps = [gap for gap in (disturb(cluster, name, make, cut) for cut in cuts) if gap is not None]
    assert gaps, "no cut of %s was in time" % name
    figure("decode worker killed, %s: longest gap beyond a first token's own time %.2f s; %d of %d cuts before the "
           "last token", name, max(gaps), len(gaps), len(cuts))


def test_greedy_stream_survives_a_kill_between_any_two_tokens(cluster):
    disturb_all(cluster, "greedy", greedy, CUTS)


def test_seeded_stream_survives_a_kill_between_any_two_tokens(cluster):
    disturb_all(cluster, "seeded", seeded, CUTS if LONG else (1, LENGTH // 2))


def test_stop_string_that_spans_the_cut(cluster):
    free = stream(cluster, greedy())
    for middle in (LENGTH // 2, LENGTH // 3, LENGTH // 4):
        before = "".join(text for _, text in free.pieces[:middle])
        stop = before[-2:] + free.text[len(before):len(before) + 3]
        if free.text.find(stop) == len(before) - 2:
            break
    golden = stream(cluster, greedy(stop=[stop]))
    assert golden.finish == "stop" and stop not in golden.text
    # At the last of these cuts the text before it holds the stop string's beginning back.
    disturb_all(cluster, "stop string", lambda: greedy(stop=[stop]), (middle - 3, middle - 1, middle))


def split_character(cluster):
    """A request whose answer has a character of several tokens, and how many tokens come before it."""
    for seed in range(40):
        def make(seed=seed):
            return body(prompt=EMOJI * 4, max_tokens=LENGTH, temperature=0.8, seed=seed)
        before = 0
        for ids, text in stream(cluster, make()).pieces:
            if len(ids) > 1 or (ids and not text):
                if 0 < before < LENGTH // 2 + 4:
                    return make, before
                break
            before += len(ids)
    pytest.fail("no answer splits a character between two tokens")


def test_character_that_spans_the_cut(cluster):
    make, before = split_character(cluster)
    disturb_all(cluster, "character of several tokens", make, (before, before, before + 1))


def test_minimum_of_tokens_counts_those_before_the_cut(cluster):
    def make():
        return body(prompt="Q: What is 2+2? Answer with one word.\nA: 4\n\n" * 6, max_tokens=LENGTH,
                    min_tokens=LENGTH - 4, ignore_eos=False)
    assert len(stream(cluster, make()).ids) >= LENGTH - 4
    disturb_all(cluster, "min_tokens", make, (2, LENGTH - 8) if LONG else (LENGTH // 2,))


@pytest.mark.parametrize("cut", CUTS[:-1] if LONG else (0, LENGTH // 2))
def test_stopped_for_three_seconds_then_woken(cluster, cut):
    golden = stream(cluster, seeded())
    fenced = cluster.router_metric("tandem_fenced_frames_total")
    timers = []

    def stop_for_a_while(worker):
        worker.kill(signal.SIGSTOP)
        timers.append(threading.Timer(3, lambda: worker.kill(signal.SIGCONT)))
        timers[0].start()
    hurt = at_cut(cluster, seeded(), cut, stop_for_a_while)
    for timer in timers:
        timer.join()
    hurt.expect_same_as(golden, "stopped after %d tokens" % cut)
    assert hurt.longest_gap_s() < 2.5 + 4 * golden.first_token_s() + 1
    cluster.wait_for_workers(3)
    cluster.expect_only_free_and_cached()
    stream(cluster, seeded()).expect_same_as(golden, "after the zombie rejoined")
    figure("decode worker stopped after %d tokens: gap %.2f s, first token of an undisturbed one %.2f s; frames fenced "
           "after it woke: %d", cut, hurt.longest_gap_s(), golden.first_token_s(),
           cluster.router_metric("tandem_fenced_frames_total") - fenced)
