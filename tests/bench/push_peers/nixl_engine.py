"""NIXL with its UCX backend, tuned. UCX_TLS in the environment chooses the transports."""
import base64
import json
import os

from nixl_cu12._api import nixl_agent, nixl_agent_config

from segments import BYTES, SEGMENT

# Transfers in flight, each with an equal share of the segments: faster than one over TCP (8 of 1, 2, 4, 8, 16 was the best)
# and no slower over shared memory.
TRANSFERS = 8


def agent(name, segments, progress_thread):
    made = nixl_agent(name, nixl_agent_config(enable_prog_thread=progress_thread))
    return made, made.register_memory([(segments.address, BYTES, 0, "")], "DRAM")


class Target:
    """Its progress thread never sleeps. Only TCP needs it: elsewhere the initiator writes the target's memory by itself, and
    polling now and then lets it connect and keeps a core free."""

    def __init__(self, segments, progress_thread=None):
        if progress_thread is None:
            progress_thread = os.environ["UCX_TLS"] == "tcp"
        self._agent, self._memory = agent("target", segments, progress_thread)
        metadata = base64.b64encode(self._agent.get_agent_metadata()).decode()
        self.description = json.dumps({"metadata": metadata, "addresses": segments.addresses()})

    def poll(self):
        self._agent.get_new_notifs()


class Initiator:
    """Without a progress thread: push() polls, and a second thread that polls as well only takes a core from the target."""

    def __init__(self, segments, description, progress_thread=False, transfers=TRANSFERS):
        there = json.loads(description)
        self._agent, self._memory = agent("initiator", segments, progress_thread)
        name = self._agent.add_remote_agent(base64.b64decode(there["metadata"]))
        source = self._prepared("NIXL_INIT_AGENT", segments.addresses())
        destination = self._prepared(name.decode() if isinstance(name, bytes) else name, there["addresses"])
        self._sides = source, destination  # the transfers refer to them
        indices = list(range(len(there["addresses"])))
        share = len(indices) // transfers
        self._transfers = [self._agent.make_prepped_xfer("WRITE", source, part, destination, part)
                           for part in (indices[i * share:(i + 1) * share] for i in range(transfers))]

    def _prepared(self, name, addresses):
        return self._agent.prep_xfer_dlist(name, [(address, SEGMENT, 0) for address in addresses], "DRAM")

    def push(self):
        """Moves all segments; returns once the engine says that they have landed."""
        begun = [(transfer, self._agent.transfer(transfer)) for transfer in self._transfers]
        for transfer, state in begun:
            while state == "PROC":
                state = self._agent.check_xfer_state(transfer)
            if state != "DONE":
                raise RuntimeError(f"a transfer ended as {state}")
