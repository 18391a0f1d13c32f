"""The same prompt gives the same greedy tokens however it is served."""
import concurrent.futures
import platform
import re
from pathlib import Path

import pytest

from cluster import Cluster
from prompts import PROMPTS

LENGTH = 12


def answers(cluster, at_once=1, **fields):
    def ask(item):
        name, prompt = item
        ids, answer = cluster.complete(prompt, LENGTH, ignore_eos=True, **fields)
        assert len(ids) == LENGTH
        return name, ids, answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(ask, PROMPTS.items()))
    return {name: ids for name, ids, _ in results}, sum(cached for *_, cached in results)


@pytest.fixture(scope="module")
def colocated():
    """Decode does its own prefill, one request at a time, nothing cached."""
    with Cluster(prefill=0) as cluster:
        tokens, _ = answers(cluster)
        cached_tokens, hits = answers(cluster)
        assert hits > 0
        assert cached_tokens == tokens
        return tokens


@pytest.mark.parametrize("chunk", [16, 512])
def test_disaggregated_equals_colocated(colocated, chunk):
    with Cluster(arguments={"prefill": ["--chunk-tokens", str(chunk)],
                            "decode": ["--max-prefill-tokens-per-step", str(chunk)],
                            "router": ["--short-suffix-tokens", "16"]}) as cluster:
        fresh, _ = answers(cluster, cache_salt="first")
        assert fresh == colocated
        pushed = cluster.workers["decode-0"].metrics()
        assert sum(v for k, v in pushed.items()
                   if k.startswith("tandem_kv_transfer_bytes_total") and 'direction="in"' in k) > 10e6
        again, hits = answers(cluster, cache_salt="first")
        assert hits > 0 and again == colocated
        together, _ = answers(cluster, at_once=4, cache_salt="second")
        assert together == colocated
        cluster.expect_only_free_and_cached()


def test_equal_over_tcp(colocated):
    environment = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo"}
    with Cluster(arguments={"router": ["--short-suffix-tokens", "16"]}, environment=environment) as cluster:
        tokens, _ = answers(cluster)
        assert tokens == colocated


def test_log_shows_the_push_between_two_processes(cluster):
    _, answer = cluster.complete(PROMPTS["english-12"], 4, cache_salt="log")
    prefill, decode = cluster.workers["prefill-0"].log(), cluster.workers["decode-0"].log()
    request = re.findall(r"request=(\S+) id=%s" % answer["id"], cluster.router.log())[0]
    lines = [line for line in prefill.splitlines() if request in line]
    left = [int(n) for line in lines for n in re.findall(r"layers_still_to_compute=(\d+)", line)]
    assert left and max(left) > 0, lines
    assert any("job ended" in line and "result=pushed" in line for line in lines), lines
    assert any("chunk landed" in line and request in line for line in decode.splitlines())
    assert "connected over local/" in prefill
    # What a worker needs to share its cache (common/base/shareable_memory.h).
    kernel = tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2])
    if kernel >= (6, 1) and Path("/proc/sys/vm/overcommit_memory").read_text().strip() != "2":
        assert "accepted over local/mapped" in decode
