"""Mooncake as those who embed it call it: one blocking batch of all segments."""
import mooncake_engine
from segments import SEGMENT

Target = mooncake_engine.Target


class Initiator(mooncake_engine.Initiator):
    def push(self):
        here, there = (list(side) for side in zip(*self._segments))
        status = self._engine.batch_transfer_sync_write(self._host, here, there, [SEGMENT] * len(here))
        if status != 0:
            raise RuntimeError(f"a batch ended as {status}")
