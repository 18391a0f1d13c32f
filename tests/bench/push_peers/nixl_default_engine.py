"""NIXL as its default agent does it, and those who embed it: a progress thread on each side, one transfer of all segments."""
import nixl_engine


class Target(nixl_engine.Target):
    def __init__(self, segments):
        super().__init__(segments, progress_thread=True)


class Initiator(nixl_engine.Initiator):
    def __init__(self, segments, description):
        super().__init__(segments, description, progress_thread=True, transfers=1)
