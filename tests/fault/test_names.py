"""Worker names that stop resolving: connections that exist stay, and a name that resolves again is used again. The
router has a hosts file of its own, in a mount namespace."""
import os
import subprocess
import tempfile
import time

import pytest

from cluster import Cluster
from streams import body, stream


def can_mount():
    return subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="NOT TESTED: names that stop resolving need a mount namespace")
def test_names_that_stop_resolving_cost_nothing_while_the_workers_live():
    hosts = os.path.join(tempfile.mkdtemp(prefix="tandem-fault-"), "hosts")
    known = "127.0.0.1 localhost decode-0.tandem.test prefill-0.tandem.test\n"

    def set_hosts(text):
        with open(hosts, "w") as file:  # in place: the mount shows this file
            file.write(text)
    set_hosts(known)
    enter = ["unshare", "-m", "bash", "-c", 'mount --bind "%s" /etc/hosts && exec "$@"' % hosts, "bash"]
    with Cluster(prefill=1, decode=1, prefix={"router": enter},
                 reach=lambda name, port: "%s.tandem.test:%d" % (name, port)) as cluster:
        golden = stream(cluster, body())
        set_hosts("127.0.0.1 localhost\n")
        time.sleep(3)  # longer than the silence limit of a session
        stream(cluster, body()).expect_same_as(golden, "without names")
        assert cluster.router_metric("tandem_workers", 'state="ready"') == 2
        # The worker restarts while its name is unknown: it is found once the name is back.
        cluster.workers["decode-0"].kill()
        set_hosts(known)
        cluster.revive()
        stream(cluster, body()).expect_same_as(golden, "after the names came back")
