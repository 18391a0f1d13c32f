"""A request whose workers die: it is given up before it has killed the fleet."""
import threading

from cluster import Cluster, wait_for
from figures import figure
from streams import Stream, body, booked_by, stream


def kill_whoever_books(cluster, trace_id, times, dead):
    for _ in range(times):
        worker = wait_for(lambda: booked_by(cluster, trace_id), 60, "a living decode worker books the request")
        worker.kill()
        dead.append(worker.name)


def test_request_ends_after_two_deaths_and_the_fleet_lives():
    with Cluster(prefill=0, decode=3) as cluster:
        watched, dead = Stream(), []
        killer = threading.Thread(target=kill_whoever_books, args=(cluster, watched.trace_id, 2, dead))
        killer.start()
        stream(cluster, body(max_tokens=400), stream_object=watched)
        killer.join()
        assert watched.status == 500 or watched.ids, "an answer that had not begun is refused in whole"
        assert watched.error is not None and "died" in watched.error["message"], watched.error
        assert len(set(dead)) == 2
        figure("poison request: ended after the deaths of %s: %s", ", ".join(dead), watched.error["message"])
        after = stream(cluster, body(max_tokens=8))
        assert after.error is None and len(after.ids) == 8
        cluster.expect_only_free_and_cached()


def test_prompt_that_kills_two_prefill_workers_is_filled_by_decode():
    with Cluster(prefill=3, decode=1) as cluster:
        watched, dead = Stream(), []

        def kill_the_filler():
            for _ in range(2):
                worker = wait_for(lambda: booked_by(cluster, watched.trace_id, "prefill"), 60, "a worker has it")
                worker.kill()
                dead.append(worker.name)
        killer = threading.Thread(target=kill_the_filler)
        killer.start()
        stream(cluster, body(prompt="Once upon a time. " * 300, max_tokens=4), stream_object=watched)
        killer.join()
        assert watched.error is None and len(watched.ids) == 4
        assert len(set(dead)) == 2 and sum(w.popen.poll() is None for w in cluster.workers.values()) == 2
        figure("prompt that killed %s: answered by decode itself", ", ".join(dead))
