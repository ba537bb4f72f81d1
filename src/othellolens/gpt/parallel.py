"""Several processes that train one model together: what `torchrun` started, seen from inside.

Each holds the whole model and plays its share of every batch; gradients are averaged
(DistributedDataParallel, Li et al. 2020, https://arxiv.org/abs/2006.15704).
"""

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError


@dataclass(frozen=True)
class Team:
    """This process among those that train; by default it is alone."""

    device: torch.device = torch.device("cpu")
    """Where this process works."""
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes, logs and shows."""
        return self.rank == 0

    @property
    def free(self) -> int:
        """Bytes of memory that are free on its device, or its share of them on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return _available() // self.size

    def share(self, batch: int) -> int:
        """Games (or rows) of a batch that are each process's own.

        Raises:
            InputError: the batch cannot be shared out equally.
        """
        if batch % self.size:
            raise InputError(
                f"a batch of {batch} cannot be shared equally by {self.size} processes"
            )
        return batch // self.size

    def total(self, x: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            x = x.clone()
            dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.total(x) / self.size if self.size > 1 else x

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the numbers of the first."""
        for tensor in tensors if self.size > 1 else ():
            dist.broadcast(tensor, 0)

    def lead(self, do: Callable[[], object]) -> None:
        """Have the first process do something while the others wait.

        Raises:
            InputError: in all of them, what it raised in the first.
        """
        told: list[str | None] = [None]
        if self.leads:
            try:
                do()
            except InputError as error:
                told = [str(error)]
        if self.size > 1:
            dist.broadcast_object_list(told, 0)
        if told[0] is not None:
            raise InputError(told[0])

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes."""
        if self.size == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)


@contextmanager
def team(device: str | None = None) -> Generator[Team]:
    """The processes that `torchrun` started, or this one alone.

    Args:
        device: "cpu", "cuda" or "cuda:1"; by default a GPU if there is one. Of several processes
            on a machine each takes the GPU of its number.

    Raises:
        InputError: there is no such device, or what torchrun sets is set otherwise.
    """
    size = _told_by("WORLD_SIZE", 1)
    place = _place(device, _told_by("LOCAL_RANK", 0) if size > 1 else None)
    if size > 1 and "RANK" not in os.environ and not dist.is_initialized():
        raise InputError(
            f"WORLD_SIZE is {size}, but RANK is not set: start the processes with torchrun, or"
            " unset WORLD_SIZE"
        )
    if size == 1:
        yield Team(place)
        return
    began = not dist.is_initialized()
    if began:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Team(place, dist.get_rank(), dist.get_world_size())
    finally:
        if began:
            dist.destroy_process_group()


def _told_by(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}, no number: torchrun sets it; else unset it")
    return int(text)


def _available() -> int:
    """Bytes that the system can give without swapping; very many where it does not say."""
    try:
        # Free pages alone would leave out what the system caches and gives back when asked.
        text = Path("/proc/meminfo").read_text()
        return int(text.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 2**62


def _place(device: str | None, local: int | None) -> torch.device:
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise InputError(f"no device {device!r}: say cpu, cuda or cuda:1") from None
    if place.type not in ("cpu", "cuda"):
        raise InputError(f"no training on {device!r}: say cpu, cuda or cuda:1")
    if place.type == "cuda":
        index = place.index or 0 if local is None else local
        there = torch.cuda.device_count()
        if index >= there:
            raise InputError(f"no GPU {index}: this machine has {there}")
        place = torch.device("cuda", index)
        torch.cuda.set_device(place)
    return place
