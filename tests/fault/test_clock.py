"""The wall clock of every worker jumps by an hour, forward and back: no timer fires, no stream changes. The monotonic
clock is left alone, as it is by an administrator or NTP. Needs Debian's package faketime.

NOT TESTED: the router's own clock. It uses jemalloc, whose first allocation asks the clock; libfaketime allocates to
answer, and the two wait for each other."""
import glob
import os
import tempfile
import time

import pytest

from cluster import Cluster, wait_for
from figures import figure
from streams import body, stream

LIBRARY = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


@pytest.mark.skipif(not LIBRARY, reason="NOT TESTED: clock jumps need Debian's package faketime")
def test_clock_that_jumps_an_hour_fires_no_timer():
    folder = tempfile.mkdtemp(prefix="tandem-fault-")
    clock = os.path.join(folder, "clock")

    def set_clock(offset):
        with open(clock + ".new", "w") as file:
            file.write(offset + "\n")
        os.replace(clock + ".new", clock)
    set_clock("+0")
    faked = ["env", "LD_PRELOAD=" + LIBRARY[0], "FAKETIME_TIMESTAMP_FILE=" + clock, "FAKETIME_NO_CACHE=1",
             "DONT_FAKE_MONOTONIC=1"]
    with Cluster(prefill=1, decode=1, prefix={"prefill": faked, "decode": faked}) as cluster:
        def request():
            return body(max_tokens=30, temperature=0.7, seed=9)
        golden = stream(cluster, request())
        opened = cluster.workers["decode-0"].log().count("session opened")
        for offset in ("+3600", "-3600", "+0"):
            hurt = stream(cluster, request(), lambda n: set_clock(offset) if n == 10 else None)
            hurt.expect_same_as(golden, "clock at " + offset)
            fields = cluster.router.log().splitlines()[-1]
            wait_for(lambda: "request done" in cluster.router.log().splitlines()[-1], 5, "the router says what it did")
            assert 'decode_workers=1' in cluster.router.log().splitlines()[-1], fields
            time.sleep(3)  # more than every deadline of a session
            assert cluster.router_metric("tandem_workers", 'state="ready"') == 2
        stamps = {line[:13] for line in cluster.workers["decode-0"].log().splitlines()}
        assert len(stamps) >= 3, "the processes saw the jumps: %s" % sorted(stamps)
        assert cluster.workers["decode-0"].log().count("session opened") == opened
        assert cluster.router_metric("tandem_decode_restarts_total") == 0
        cluster.expect_only_free_and_cached()
        figure("clock jumps of an hour: same streams, no session ended; log lines within the hours %s", sorted(stamps))
