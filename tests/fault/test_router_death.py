"""A router that is killed: its streams are lost to their clients, and nothing of them stays on the workers."""
import threading
import time

from cluster import Cluster
from figures import figure
from prompts import ENGLISH
from streams import body, stream


def test_workers_give_back_what_a_dead_router_started_and_serve_the_next_one():
    with Cluster(prefill=1, decode=1) as cluster:
        golden = stream(cluster, body())
        lost, seen = [], threading.Semaphore(0)

        def client(i):
            try:
                stream(cluster, body(prompt="%d. %s" % (i, ENGLISH * (i % 8 + 1)), max_tokens=1000),
                       lambda n: seen.release() if n == 1 else None)
            except Exception as error:  # its connection is reset
                lost.append(error)
        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            assert seen.acquire(timeout=60), "half of the streams run"
        cluster.router.kill()
        killed = time.monotonic()
        for thread in threads:
            thread.join()
        assert len(lost) == len(threads)
        cluster.expect_only_free_and_cached()
        freed = time.monotonic() - killed
        cluster.start_router()
        stream(cluster, body()).expect_same_as(golden, "through the next router")
        figure("router killed under 8 streams: all blocks back after %.2f s", freed)
