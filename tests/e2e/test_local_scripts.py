"""deploy/local as a user meets it: another cache folder, a proxy in the environment, wrong arguments, no network."""
import http.client
import os
import signal
import socket
import subprocess

import pytest

from cluster import MODEL, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOCAL = os.path.join(ROOT, "deploy", "local")
SCRIPTS = ["deploy/local/" + name for name in ("up", "down", "build", "install")]
SCRIPTS += ["tests/run"] + ["tests/%s/run" % name for name in ("lint", "sim", "e2e", "fault", "bench")]
NOWHERE = "http://127.0.0.1:9"


def run(script, *arguments, **environment):
    return subprocess.run([os.path.join(LOCAL, script), *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def listening_addresses(pid):
    """The IPv4 addresses, as in /proc, on which a process takes TCP connections."""
    links = ["/proc/%s/fd/%s" % (pid, fd) for fd in os.listdir("/proc/%s/fd" % pid)]
    sockets = {os.readlink(link) for link in links if os.path.islink(link)}
    with open("/proc/%s/net/tcp" % pid) as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and "socket:[%s]" % row[9] in sockets}


@pytest.fixture
def cache(tmp_path):
    """A cache folder of its own, filled from the one that the tests run with."""
    folder = tmp_path / "a cache"
    folder.mkdir()
    shared = os.path.dirname(MODEL)
    for name in os.listdir(shared):
        if name.startswith("ucx-") or name == os.path.basename(MODEL):
            (folder / name).symlink_to(os.path.join(shared, name))
    return folder


def test_up_and_down_with_another_cache_and_a_proxy(cache):
    port = free_port()
    settings = {"TANDEM_CACHE": str(cache), "http_proxy": NOWHERE, "no_proxy": ""}
    try:
        up = run("up", "--port", port, "--threads", "1", "--detach", **settings)
        assert up.returncode == 0, up.stdout + up.stderr
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        for line in (cache / "run" / port / "pids").read_text().splitlines():
            assert listening_addresses(line.split()[0]) <= {"0100007F"}, line  # 127.0.0.1
        again = run("up", "--port", port, **settings)
        assert again.returncode == 1 and "is in use" in again.stderr
    finally:
        down = run("down", "--port", port, **settings)
    assert down.stdout == "stopped the cluster on port %s\n" % port
    assert run("down", **settings).stdout == "nothing is running\n"


def test_check_sends_a_chat(cache):
    done = run("up", "--port", free_port(), "--check", TANDEM_CACHE=str(cache), http_proxy=NOWHERE, no_proxy="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "first_token_ms" in done.stdout


def test_second_interrupt_ends_at_once_what_does_not_stop(cache):
    port = free_port()
    up = subprocess.Popen([os.path.join(LOCAL, "up"), "--port", port, "--threads", "1"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "TANDEM_CACHE": str(cache)}, start_new_session=True)
    for line in up.stdout:
        if "Ctrl-C stops everything" in line:
            break
    pids = [line.split()[0] for line in (cache / "run" / port / "pids").read_text().splitlines()]
    assert len(pids) == 3
    os.kill(int(pids[0]), signal.SIGSTOP)
    os.killpg(up.pid, signal.SIGINT)
    assert up.stdout.readline() + up.stdout.readline() == "\nstopping\n"
    wait_for(lambda: not os.path.exists("/proc/" + pids[1]), 10, "what can stop has stopped")
    os.killpg(up.pid, signal.SIGINT)
    up.wait(8)
    up.stdout.close()
    wait_for(lambda: not any(os.path.exists("/proc/" + pid) for pid in pids), 2, "all programs have ended")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_given_and_unknown_arguments_are_named_at_once(script):
    def answer(*arguments):
        return subprocess.run([os.path.join(ROOT, script), *arguments], capture_output=True, text=True, timeout=5)

    for flag in ("--help", "-h"):
        done = answer(flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\nusage: %s " % script in done.stdout and "\nexample" in done.stdout
    done = answer("--bogus")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "%s: unknown argument '--bogus'; see %s --help\n" % (script, script)


@pytest.mark.parametrize("arguments,reason", [
    (["--port", "70000"], "--port must be between 1 and 65535"),
    (["--port", "x"], "--port wants a number, not 'x'"),
    (["--port", "08"], "cannot read the model file 'nothing'"),
    (["--decode", "0"], "--decode must be at least 1"),
    (["--prefill", "099"], "at most 64 workers"),
    (["--port"], "--port wants a value"),
])
def test_wrong_arguments_are_one_line(arguments, reason):
    done = run("up", "--model", "nothing", *arguments)
    assert done.returncode == 1
    assert done.stderr == "up: %s\n" % reason


def test_failed_download_says_so_and_leaves_nothing(tmp_path):
    done = run("install", "--model", TANDEM_CACHE=str(tmp_path), PIP_INDEX_URL=NOWHERE, PIP_RETRIES="0")
    assert done.returncode != 0
    assert "install: cannot download libucx-cu13" in done.stderr
    assert os.listdir(tmp_path) == []
