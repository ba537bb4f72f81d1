"""How the process keeps its memory."""

import ctypes
import sys


def keep_memory() -> None:
    """Tell glibc to keep large freed buffers instead of handing them back to the kernel.

    Page-faulting them in again costs a training step of a small model a tenth of its time, and a
    full cache of many games a third. It concerns the whole process, so the library never does it by
    itself: the commands do where they start, and a script may. Nothing happens on other systems.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        # M_MMAP_THRESHOLD (32 MiB is the most that glibc takes), M_TRIM_THRESHOLD, M_TOP_PAD
        for option, value in ((-3, 1 << 25), (-1, (1 << 31) - 1), (-2, 1 << 26)):
            mallopt(option, value)
