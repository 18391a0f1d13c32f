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

SHARED = {"UCX_TLS": "tcp,shm,cma,posix,sysv"}
# name in a table: module, environment, whether the bytes stay out of the network, whether this is how it comes
ENGINES = {
    "NIXL 1.5.1 default, shared memory": ("nixl_default", SHARED, True, True),
    "NIXL 1.5.1 tuned, shared memory": ("nixl", SHARED, True, False),
    "NIXL 1.5.1 default, tcp": ("nixl_default", {"UCX_TLS": "tcp"}, False, True),
    "NIXL 1.5.1 tuned, tcp": ("nixl", {"UCX_TLS": "tcp"}, False, False),
    "Mooncake 0.3.13 default, tcp": ("mooncake_default", {}, False, True),
    "Mooncake 0.3.13 tuned, tcp": ("mooncake", {"MC_TCP_ENABLE_CONNECTION_POOL": "1"}, False, False),
}
NOTE = ("Transfer engines: the same 96 segments of 768 KiB, written by one process into the other, both on huge pages, in rounds "
        "with ours; whole walks in windows of 200 ms at the initiator, after a warm-up; no checksums. The target found every byte "
        "of a last walk, or there is no figure. The must is judged against the defaults, the stretch against the tuned. Default: "
        "NIXL as its default agent does it, progress threads on both sides and one prepared transfer of all segments; Mooncake's "
        "blocking call for a batch of all segments, no settings. UCX_TLS alone is set, as it makes the row. Tuned: the fastest "
        "settings found. NIXL: 8 prepared transfers in flight, initiator without a progress thread, target with one over TCP and "
        "polling every 10 ms over shared memory. Mooncake: all segments in flight, pooled connections, status asked every 0.5 ms; "
        "it has no path for one host.")


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

    def goals(self, same_host):
        return goals(self.peers(same_host))

    @property
    def notes(self):
        failed = [f"{name} was not measured: {reason}" if not self.rates[name] else f"{name} failed in a later round: {reason}"
                  for name, reason in self._failed.items()]
        return [NOTE, *failed] if self._context.peers else []


def names(same_host):
    return [name for name, (_, _, inside, _) in ENGINES.items() if inside == same_host]


def goals(peers):
    """A must against the engines as they come, a stretch against the tuned ones."""
    return [_goal(name, form, [rates for engine, rates in peers.items() if ENGINES[engine][3] == default])
            for name, form, default in (("must", "by default", True), ("stretch", "tuned", False))]


def _goal(name, form, peers):
    medians = [median(rates) for rates in peers if rates]
    return Goal(name, f"{FACTOR}x the better transfer engine {form}", FACTOR * max(medians) if medians else None)
