import pytest

from cluster import Cluster


@pytest.fixture(scope="session")
def cluster():
    """One prefill and one decode worker, shared by the tests that harm nothing."""
    with Cluster() as running:
        yield running
