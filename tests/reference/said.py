"""Encoders whose features are computed from the truth, or given once and for all."""

from collections.abc import Callable, Iterator

from torch import Tensor

from othellolens.concepts import standard
from othellolens.evaluation.controls import Oracle
from othellolens.lens import Read
from othellolens.othello.games import Games


class Said:
    """Features computed from facts, batch by batch."""

    def __init__(self, say: Callable[[Tensor], Tensor]) -> None:
        self.say = say

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        for read in Oracle(standard()).read(games, batch=batch):
            yield Read(read.boards, read.x, self.say(read.features))


class Fixed:
    """The same batches whenever it is asked, since noise is drawn once."""

    def __init__(self, reads: list[Read]) -> None:
        self.reads = reads

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        yield from self.reads
