"""Clients that never read their stream: the router's memory does not grow with it, and they are cut off."""
import json
import socket

from accounts import expect_given_back, holdings, resident_bytes
from cluster import Cluster, wait_for
from figures import figure
from streams import body, stream

STREAMS = 2
CHOICES = 8  # in each, so that the kernel's buffers, some megabytes, fill soon


def never_reading(cluster):
    """Small buffers, so that the router has to hold what is not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", cluster.port))
    request = json.dumps({**body(prompt=["Once upon a time"] * CHOICES, max_tokens=3000, logprobs=20), "stream": True})
    client.sendall(("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n%s" % (len(request), request)).encode())
    return client


def test_clients_that_never_read_are_cut_off_and_hold_little():
    with Cluster(prefill=0, decode=1) as cluster:
        stream(cluster, body())
        # A first pair, so that what the allocator keeps is there before the measurement.
        for client in [never_reading(cluster) for _ in range(STREAMS)]:
            assert client.recv(1)  # its stream has begun
            client.close()
        wait_for(lambda: cluster.router_metric("tandem_requests_cancelled_total") >= STREAMS, 60, "they are gone")
        before, rss = holdings(cluster), resident_bytes(cluster.router)
        clients = [never_reading(cluster) for _ in range(STREAMS)]
        highest = rss

        def all_cut_off():
            nonlocal highest
            highest = max(highest, resident_bytes(cluster.router))
            return cluster.router_metric("tandem_requests_cancelled_total") >= 2 * STREAMS
        wait_for(all_cut_off, 180, "streams that nobody reads are cut off")
        growth = (highest - rss) / STREAMS
        figure("clients that never read: router grows by %.0f KiB a stream, all %d cut off", growth / 1024, STREAMS)
        assert growth < 1 << 20
        for client in clients:
            client.close()
        expect_given_back(cluster, before, slack=STREAMS - 1)
