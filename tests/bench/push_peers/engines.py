"""The transfer engines beside our push: installed, and measured in turns with it."""
import ctypes.util
import json
import os
import subprocess

import environments
from report import Goal, median

FOLDER = os.path.dirname(os.path.abspath(__file__))
FACTOR = 1.5
RUN_S = 60
DEBIAN = ("libibverbs1", "libnuma1")  # of Mooncake, over TCP as well

# name in a table: module, environment, whether the bytes stay out of the network
ENGINES = {
    "NIXL 1.5.1, shared memory": ("nixl", {"UCX_TLS": "tcp,shm,cma,posix,sysv"}, True),
    "NIXL 1.5.1, tcp": ("nixl", {"UCX_TLS": "tcp"}, False),
    "Mooncake 0.3.13, tcp": ("mooncake", {"MC_TCP_ENABLE_CONNECTION_POOL": "1"}, False),
}
NOTE = ("Transfer engines: the same 96 segments of 768 KiB, written by one process into the other, both on huge pages, in rounds "
        "with ours; whole walks in windows of 200 ms at the initiator, after a warm-up; no checksums. Settings are the fastest "
        "found. NIXL: 8 prepared transfers in flight, initiator without a progress thread, target with one over TCP and polling "
        "every 10 ms over shared memory. Mooncake: all segments in flight, pooled connections, status asked every 0.5 ms; it has "
        "no path for one host. The target found every byte of a last walk, or there is no figure.")


def _need_debian():
    """Where that is not possible, Mooncake itself says what it lacks."""
    if ctypes.util.find_library("ibverbs") and ctypes.util.find_library("numa"):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *DEBIAN]):
        try:
            subprocess.run([*as_root, "apt-get", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=120)
        except (OSError, subprocess.TimeoutExpired):
            return


class Engines:
    """`rates[name]` are GB/s so far, `notes` say what is to know about them. Nothing is measured without --peers."""

    def __init__(self, context):
        self.rates = {name: [] for name in ENGINES}
        self._failed = {}
        self._context = context
        self._python = self._install() if context.peers else None

    def _install(self):
        _need_debian()
        try:
            folder = environments.installed(self._context, "push-peers", os.path.join(FOLDER, "requirements.txt"), "--no-deps")
        except (OSError, subprocess.CalledProcessError) as error:
            words = (getattr(error, "stderr", None) or str(error)).splitlines()
            self._failed = dict.fromkeys(ENGINES, words[0])
            return None
        return os.path.join(folder, "bin", "python")

    def measure(self, name):
        """One round. An engine that failed is not tried again."""
        if self._python is None or name in self._failed:
            return
        self._context.say(name)
        rates, reason = self._push(*ENGINES[name][:2])
        self.rates[name] += rates
        if reason:
            self._failed[name] = reason

    def _push(self, module, environment):
        """In a network of their own: Mooncake listens on every address."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("UCX_", "MC_", "NIXL_"))}
        pair = 'ip link set lo up; exec "$0" "$1" "$2"'
        try:
            done = subprocess.run(["unshare", "-rn", "sh", "-c", pair, self._python, os.path.join(FOLDER, "pair.py"), module],
                                  capture_output=True, text=True, timeout=RUN_S, env={**plain, **environment})
        except (OSError, subprocess.TimeoutExpired) as error:
            return [], str(error).splitlines()[0]
        if done.returncode != 0 or not done.stdout:
            return [], (done.stderr.splitlines() or [f"status {done.returncode}"])[0]
        return json.loads(done.stdout)

    def peers(self, same_host):
        """Of a row: name -> rates."""
        return {name: self.rates[name] for name in names(same_host)} if self._context.peers else {}

    def goal(self, same_host):
        return goal(self.peers(same_host))

    @property
    def notes(self):
        failed = [f"{name} was not measured: {reason}" if not self.rates[name] else f"{name} failed in a later round: {reason}"
                  for name, reason in self._failed.items()]
        return [NOTE, *failed] if self._context.peers else []


def names(same_host):
    return [name for name, (_, _, inside) in ENGINES.items() if inside == same_host]


def goal(peers):
    medians = [median(rates) for rates in peers.values() if rates]
    return Goal("must", f"{FACTOR}x the better transfer engine", FACTOR * max(medians) if medians else None)
