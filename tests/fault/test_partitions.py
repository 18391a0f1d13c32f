"""A network between router and workers that delays, stalls one way, cuts and half-closes: the session ends by our own
deadline, streams go on elsewhere, and after it heals the worker is back without a restart."""
import threading
import time

import pytest

from cluster import Cluster, wait_for
from figures import figure
from streams import Stream, body, booked_by, stream
from tcp_proxy import TcpProxy

LENGTH = 24
HARMS = {
    "router to worker stalls": lambda proxy: proxy.stall("up"),
    "worker to router stalls": lambda proxy: proxy.stall("down"),
    "both ways stall": lambda proxy: proxy.stall("up", "down"),
    "connection is cut": lambda proxy: proxy.cut(),
    "router's side is closed": lambda proxy: proxy.half_close(),
}


@pytest.fixture(scope="module")
def running():
    proxies = {}

    def reach(name, port):
        proxies[name] = TcpProxy(port)
        return "127.0.0.1:%d" % proxies[name].port
    with Cluster(prefill=1, decode=2, arguments={"prefill": ["--chunk-tokens", "64"]}, reach=reach) as cluster:
        yield cluster, proxies
    for proxy in proxies.values():
        proxy.stop()


@pytest.fixture
def proxied(running):
    """Healed, whatever the test before did."""
    yield running
    for proxy in running[1].values():
        proxy.heal()
    running[0].wait_for_workers(3)


def request(**fields):
    return body(max_tokens=LENGTH, temperature=0.7, seed=3, **fields)


@pytest.mark.parametrize("harm", HARMS)
def test_stream_continues_on_another_worker_and_the_lost_one_rejoins(proxied, harm):
    cluster, proxies = proxied
    golden = stream(cluster, request())
    watched, hurt = Stream(), []

    def on_tokens(n):
        if n == LENGTH // 2:
            hurt.append(booked_by(cluster, watched.trace_id))
            HARMS[harm](proxies[hurt[0].name])
    stream(cluster, request(), on_tokens, stream_object=watched)
    watched.expect_same_as(golden, harm)
    assert watched.longest_gap_s() < 3 + 4 * golden.first_token_s() + 1
    wait_for(lambda: cluster.router_metric("tandem_workers", 'state="ready"') == 2, 5, "the router gives it up")
    # What it was serving is given back, though nobody can tell it to.
    cluster.expect_only_free_and_cached()
    healed = time.monotonic()
    proxies[hurt[0].name].heal()
    cluster.wait_for_workers(3)
    back = time.monotonic() - healed
    assert back < 5 and hurt[0].popen.poll() is None
    figure("%s: gap %.2f s (a first token takes %.2f s), back %.2f s after it healed", harm, watched.longest_gap_s(),
           golden.first_token_s(), back)
    stream(cluster, request()).expect_same_as(golden, "after " + harm)


def test_slow_sessions_are_not_taken_for_dead(proxied):
    cluster, proxies = proxied
    golden = stream(cluster, request())
    restarts = cluster.router_metric("tandem_decode_restarts_total")
    for proxy in proxies.values():
        proxy.delay(0.3)
    try:
        time.sleep(3)  # several heartbeats, all of them late
        late = stream(cluster, request())
    finally:
        for proxy in proxies.values():
            proxy.heal()
    late.expect_same_as(golden, "0.3 s each way")
    assert cluster.router_metric("tandem_decode_restarts_total") == restarts
    assert cluster.router_metric("tandem_workers", 'state="ready"') == 3


@pytest.mark.parametrize("harm", ["both ways stall", "connection is cut"])
def test_lost_session_to_a_prefill_worker_costs_no_token(proxied, harm):
    cluster, proxies = proxied
    prompt = "Once upon a time there was a machine. " * 40
    golden = stream(cluster, request(prompt=prompt))
    watched = Stream()

    def harmed():
        wait_for(lambda: booked_by(cluster, watched.trace_id, "prefill"), 60, "the prefill worker has the job")
        HARMS[harm](proxies["prefill-0"])
    thread = threading.Thread(target=harmed)
    thread.start()
    stream(cluster, request(prompt=prompt), stream_object=watched)
    thread.join()
    proxies["prefill-0"].heal()
    watched.expect_same_as(golden, harm)
    cluster.wait_for_workers(3)
    cluster.expect_only_free_and_cached()
