"""The memory of one side of a push: as many bytes in as large segments as push_bandwidth.cc walks through, on huge pages
where the kernel has them."""
import mmap

import numpy

SEGMENT = 786432
SEGMENTS = 96
BYTES = SEGMENT * SEGMENTS
HUGE_PAGE = 2 << 20


class Segments:
    """Zeros at first; every page is touched. The memory lives as long as the object."""

    def __init__(self):
        self._map = mmap.mmap(-1, BYTES + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map.madvise(mmap.MADV_HUGEPAGE)
        whole = numpy.frombuffer(self._map, dtype=numpy.uint8)
        skip = -whole.ctypes.data % HUGE_PAGE
        self._words = whole[skip:skip + BYTES].view(numpy.uint64)
        self._words[:] = 0
        self.address = self._words.ctypes.data

    def addresses(self):
        return [self.address + i * SEGMENT for i in range(SEGMENTS)]

    def fill(self, seed):
        self._words[:] = _pattern(seed)

    def hold(self, seed):
        """Whether every byte is what fill(seed) writes."""
        return bool((self._words == _pattern(seed)).all())


def _pattern(seed):
    return numpy.random.default_rng(seed).integers(0, 2**64, BYTES // 8, dtype=numpy.uint64)
