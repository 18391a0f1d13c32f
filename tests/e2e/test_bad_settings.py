"""Settings that the model or the machine cannot meet end a program at once, with one line that says why."""
import os
import subprocess

import pytest

from cluster import BIN, MODEL


@pytest.mark.parametrize("arguments,reason", [
    (["--max-model-len", "99999"], "--max-model-len is 99999, and the model takes 8192 tokens"),
    (["--kv-memory", "1KiB"], "--kv-memory is less than one block of"),
    (["--listen-host", "nowhere.invalid"], "cannot listen on nowhere.invalid:0: "),
    (["--transport", "pigeon"], "transport 'pigeon' is not known"),
])
def test_worker_ends_with_one_line(arguments, reason):
    done = subprocess.run([os.path.join(BIN, "tandem-decode"), "--model", MODEL, "--threads", "1", *arguments],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("tandem-decode: " + reason)
