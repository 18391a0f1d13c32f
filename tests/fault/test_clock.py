"""The wall clock of every program jumps by an hour, forward and back: no timer fires, no stream changes. The monotonic
clock is left alone, as it is by an administrator or NTP. The clocks are moved by a library of our own, clock_offset.cc."""
import os
import struct
import tempfile
import time

from cluster import BIN, Cluster, wait_for
from figures import figure
from streams import body, stream

LIBRARY = os.path.join(BIN, "..", "lib", "libclock_offset.so")


def hours(process):
    """The hours, as written, in which a program logged."""
    return sorted({line[:13] for line in process.log().splitlines()})


def test_clock_that_jumps_an_hour_fires_no_timer():
    clock = os.path.join(tempfile.mkdtemp(prefix="tandem-fault-"), "clock")

    def set_clock(offset_s):
        with open(clock, "r+b" if os.path.exists(clock) else "wb") as file:  # in place: it is mapped
            file.write(struct.pack("=q", offset_s))
    set_clock(0)
    moved = ["env", "LD_PRELOAD=" + LIBRARY, "CLOCK_OFFSET_FILE=" + clock]
    with Cluster(prefill=1, decode=1, prefix={"prefill": moved, "decode": moved, "router": moved}) as cluster:
        def request():
            return body(max_tokens=30, temperature=0.7, seed=9)
        golden = stream(cluster, request())
        opened = cluster.workers["decode-0"].log().count("session opened")
        for offset_s in (3600, -3600, 0):
            hurt = stream(cluster, request(), lambda n: set_clock(offset_s) if n == 10 else None)
            hurt.expect_same_as(golden, "clock moved by %d s" % offset_s)
            wait_for(lambda: "request done" in cluster.router.log().splitlines()[-1], 5, "the router says what it did")
            assert "decode_workers=1" in cluster.router.log().splitlines()[-1]
            time.sleep(3)  # more than every deadline of a session
            assert cluster.router_metric("tandem_workers", 'state="ready"') == 2
        for process in (cluster.router, cluster.workers["prefill-0"], cluster.workers["decode-0"]):
            assert len(hours(process)) >= 3, "%s saw the jumps: %s" % (process.name, hours(process))
        assert cluster.workers["decode-0"].log().count("session opened") == opened
        assert cluster.router_metric("tandem_decode_restarts_total") == 0
        cluster.expect_only_free_and_cached()
        figure("clock jumps of an hour: same streams, no session ended; the router logged within the hours %s",
               hours(cluster.router))
