"""Sharing work that is done without the GIL over threads of this process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def shared_out(work: Callable[[int, int], T], total: int, chunk: int) -> list[T]:
    """`work(first, stop)` for each chunk of 0..total, results in order.

    As many threads as torch uses (`torch.set_num_threads`); no result may depend on their number.
    """
    cuts = [(first, min(first + chunk, total)) for first in range(0, total, chunk)]
    threads = min(torch.get_num_threads(), len(cuts))
    if threads <= 1:
        return [work(*cut) for cut in cuts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, *zip(*cuts, strict=True)))
