"""Board probes: for every square, whether it is mine, theirs or empty (Nanda et al. 2023).

"Mine" are the discs of the player who moves next by the rules, passes honoured. As an encoder a
board probe has 192 features, the probabilities.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..concepts import Concept
from ..othello.boards import Boards
from ..othello.squares import SQUARES
from .probe import UNKNOWN, Probe

CLASSES = ("mine", "theirs", "empty")


class BoardProbe(Probe):
    """A probe whose labels are 0 mine, 1 theirs, 2 empty, for each of 64 squares."""

    @abstractmethod
    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position 3 64"]:
        """Unnormalised log probabilities of mine, theirs, empty for every square."""

    def loss(
        self, logits: Float[Tensor, "position 3 64"], truth: Int64[Tensor, "position 64"]
    ) -> Float[Tensor, ""]:
        return F.cross_entropy(logits, truth, ignore_index=UNKNOWN)

    def guess(self, logits: Float[Tensor, "position 3 64"]) -> Int64[Tensor, "position 64"]:
        return logits.argmax(1)

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        """192 probabilities: 64 squares mine, 64 theirs, 64 empty."""
        return self.logits(x).softmax(1).flatten(1)

    def feature_names(self) -> tuple[str, ...]:
        return tuple(str(Concept(family, square)) for family in CLASSES for square in SQUARES)

    def shape(self) -> dict[str, object]:
        return {**super().shape(), "classes": CLASSES}


def classes(boards: Boards) -> Int64[Tensor, "position 64"]:
    """0 mine, 1 theirs, 2 empty."""
    return boards.squares().to(torch.uint8).argmax(1)


def by_parity(boards: Boards) -> Boards:
    """The boards seen by the side that would move if nobody ever passed."""
    black = boards.at[:, 1] % 2 == 1
    same = black == boards.black
    mine = torch.where(same, boards.mine, boards.theirs)
    return Boards(mine, torch.where(same, boards.theirs, boards.mine), boards.at, black)
