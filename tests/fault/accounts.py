"""What a cluster's processes hold: descriptors, threads, sessions, and the spans of their histograms."""
import os
import re

from cluster import wait_for


def processes(cluster):
    return {"router": cluster.router, **cluster.workers}


def holdings(cluster):
    """{(process, what): count} of all that a request must give back."""
    found = {}
    for name, process in processes(cluster).items():
        folder = "/proc/%d" % process.popen.pid
        found[name, "descriptors"] = len(os.listdir(folder + "/fd"))
        found[name, "threads"] = len(os.listdir(folder + "/task"))
        if name != "router":
            log = process.log()
            found[name, "sessions"] = log.count("session opened") - log.count("session closed")
            metrics = process.metrics()
            for kind in ("running", "waiting"):
                found[name, kind] = sum(v for k, v in metrics.items() if k.startswith("tandem_requests_" + kind))
    for kind in ("running", "waiting"):
        found["router", kind] = cluster.router_metric("tandem_requests_" + kind)
    return found


def expect_given_back(cluster, before, limit_s=30, slack=0):
    """All that is held comes down to what was held before, and only free and cached blocks remain. `slack`: gRPC may
    have started a thread with its descriptor since."""
    def more():
        return {key: (before.get(key, 0), value) for key, value in holdings(cluster).items()
                if value > before.get(key, 0) + slack}
    try:
        wait_for(lambda: not more(), limit_s, "what was held is given back")
    except AssertionError:
        raise AssertionError("held before and now: %s" % more()) from None
    cluster.expect_only_free_and_cached()


def histogram(process, name):
    """{upper bound: observations at or below it}."""
    found = {}
    for key, value in process.metrics().items():
        match = re.match(r'%s_bucket\{.*le="([^"]+)"' % name, key)
        if match:
            found[float(match[1])] = value
    return found


def spans_since(process, name, before):
    return {bound: value - before.get(bound, 0) for bound, value in histogram(process, name).items()}


def histogram_quantile(spans, q):
    """The upper bound of the bucket that holds the quantile, and how many observations there are."""
    count = spans[max(spans)]
    for bound in sorted(spans):
        if spans[bound] >= q * count:
            return bound, int(count)
    return float("inf"), int(count)


def resident_bytes(process):
    with open("/proc/%d/statm" % process.popen.pid) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
