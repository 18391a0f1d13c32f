"""A prefill worker behind a slow network: a push that makes progress is not taken for dead. The worker runs in a
network namespace of its own, joined by a veth pair that `tc tbf` throttles; needs root."""
import os
import subprocess

import pytest

from cluster import Cluster
from figures import figure
from prompts import ENGLISH
from streams import body, stream


def sh(command, check=True):
    return subprocess.run(command.split(), check=check, stderr=subprocess.DEVNULL).returncode == 0


class Link:
    """A namespace, and a veth pair of which both ends have one name: UCX is told one device for both workers."""

    def __init__(self):
        self.name = "tf%d" % (os.getpid() % 10**7)
        self.subnet = "10.%d.%d" % (200 + os.getpid() % 50, os.getpid() // 50 % 250)

    def __enter__(self):
        try:
            sh("ip netns add " + self.name)
            sh("ip link add %s type veth peer name %sp netns %s" % (self.name, self.name, self.name))
            sh("ip -n %s link set %sp name %s" % (self.name, self.name, self.name))
            sh("ip addr add %s.1/30 dev %s" % (self.subnet, self.name))
            sh("ip -n %s addr add %s.2/30 dev %s" % (self.name, self.subnet, self.name))
            sh("ip link set %s up" % self.name)
            sh("ip -n %s link set %s up" % (self.name, self.name))
            sh("ip -n %s link set lo up" % self.name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        sh("ip link del " + self.name, check=False)
        sh("ip netns del " + self.name, check=False)

    def throttle(self, megabits):
        """What the namespace sends; a burst of at least one unsegmented packet."""
        sh("ip netns exec %s tc qdisc replace dev %s root tbf rate %dmbit burst 128kb latency 200ms" %
           (self.name, self.name, megabits))


def available():
    try:
        with Link() as link:
            link.throttle(100)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.fixture(scope="module")
def slow():
    if not available():
        pytest.skip("NOT TESTED: a slow link needs root, network namespaces, veth and tc tbf")
    with Link() as link:
        environment = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": link.name}
        everywhere = ["--listen-host", "0.0.0.0", "--metrics-host", "0.0.0.0"]
        with Cluster(prefill=1, decode=1, environment=environment, arguments={"prefill": everywhere},
                     prefix={"prefill": ["ip", "netns", "exec", link.name]},
                     hosts={"prefill": link.subnet + ".2"}) as cluster:
            yield link, cluster


def request():
    return body(prompt="A story. " + ENGLISH * 4, max_tokens=8)


def pushed_bytes(cluster):
    return sum(v for k, v in cluster.workers["prefill-0"].metrics().items()
               if k.startswith("tandem_kv_transfer_bytes_total") and 'direction="out"' in k)


def test_push_over_a_slow_link_that_progresses_is_not_taken_for_dead(slow):
    link, cluster = slow
    golden = stream(cluster, request())
    # The least that TransferEngineOptions promises never to judge dead is 8 MiB in flight in 1 s: 67 Mbit/s.
    link.throttle(80)
    found = stream(cluster, request())
    found.expect_same_as(golden, "80 Mbit/s")
    assert pushed_bytes(cluster) > 0
    for name, worker in cluster.workers.items():
        for key, value in worker.metrics().items():
            assert not key.startswith(("tandem_kv_transfer_failures", "tandem_fills_lost")) or value == 0, (name, key)
    figure("slow link: first token after %.2f s unthrottled, %.2f s at 80 Mbit/s", golden.first_token_s(),
           found.first_token_s())


def test_link_that_is_much_too_slow_costs_time_and_no_token(slow):
    link, cluster = slow
    link.throttle(1000)
    golden = stream(cluster, request())
    link.throttle(1)
    found = stream(cluster, request())
    found.expect_same_as(golden, "1 Mbit/s")
    figure("link of 1 Mbit/s: first token after %.2f s (%.2f s unthrottled)", found.first_token_s(),
           golden.first_token_s())
    link.throttle(1000)
    cluster.wait_for_workers(2)
    cluster.expect_only_free_and_cached(30)
