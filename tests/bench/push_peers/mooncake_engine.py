"""Mooncake's transfer engine over TCP, tuned: two engines that shake hands with each other, without a metadata server."""
import json
import time

from mooncake.engine import TransferEngine

from segments import BYTES, SEGMENT

# Its call that waits does not sleep, which takes a core from the threads that move the bytes.
NAP_S = 0.0005
DONE = 1


def engine(segments):
    made = TransferEngine()
    if made.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") != 0:
        raise RuntimeError("the engine did not start")
    if made.register_memory(segments.address, BYTES) != 0:
        raise RuntimeError("the engine did not take the memory")
    return made


class Target:
    def __init__(self, segments):
        self._engine = engine(segments)
        host = f"127.0.0.1:{self._engine.get_rpc_port()}"
        self.description = json.dumps({"host": host, "addresses": segments.addresses()})

    def poll(self):
        """Nothing: the engine has threads of its own."""


class Initiator:
    def __init__(self, segments, description):
        there = json.loads(description)
        self._engine = engine(segments)
        self._host = there["host"]
        self._segments = list(zip(segments.addresses(), there["addresses"]))

    def push(self):
        """Moves all segments, all in flight at once; returns once the engine says that they have landed."""
        transfers = [self._engine.transfer_submit_write(self._host, here, there, SEGMENT) for here, there in self._segments]
        for transfer in transfers:
            status = self._engine.transfer_check_status(transfer)
            while status == 0:
                time.sleep(NAP_S)
                status = self._engine.transfer_check_status(transfer)
            if status != DONE:
                raise RuntimeError(f"a transfer ended as {status}")
