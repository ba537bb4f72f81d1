"""Counterfactuals: what the model has read, the board that it led to, and the one it should be."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import InputError
from ..othello.boards import Boards
from ..othello.games import Games
from ..othello.squares import CENTRE, name
from .cases import Cases, Edit

Positions: TypeAlias = Literal["last", "all"]
"""Where in a history to edit: at its last move; or at every move from which on a square that is to
change was taken."""
MINE, THEIRS, EMPTY = range(3)


class Changes(NamedTuple):
    """Squares to change, a row each; states are 0 mine, 1 theirs, 2 empty, of the mover there."""

    case: Int64[Tensor, " change"]
    ply: Int64[Tensor, " change"]
    square: Int64[Tensor, " change"]
    old: Int64[Tensor, " change"]
    new: Int64[Tensor, " change"]


@dataclass(frozen=True)
class Counterfactual:
    """Histories, and for each the board that is there and the board that is wanted."""

    histories: Games
    """Cut where the edit is made; -1 after that."""
    before: Boards
    after: Boards
    """The same side to move as before."""

    def __post_init__(self) -> None:
        if not len(self.histories) == len(self.before) == len(self.after):
            raise InputError(
                f"{len(self.histories)} histories, {len(self.before)} boards and {len(self.after)}"
                " wanted boards: one each"
            )
        if not torch.equal(self.before.black, self.after.black):
            raise InputError("a wanted board is for the other side to move: mine would be theirs")
        if bool((self.after.mine & self.after.theirs != 0).any()):
            raise InputError("a wanted board has a square that is mine and theirs")

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, rows: slice) -> "Counterfactual":
        return Counterfactual(self.histories[rows], self.before[rows], self.after[rows])

    @staticmethod
    def of(cases: Cases, edit: Edit) -> "Counterfactual":
        """The cases of the intervention benchmark, one disc flipped or erased.

        Raises:
            InputError: a square that holds no disc, or a disc of the centre that is to be erased.
        """
        return Counterfactual(cases.histories, cases.boards(), cases.edited(edit))

    @staticmethod
    def with_squares(histories: Games, wanted: dict[int, int]) -> "Counterfactual":
        """Boards on which some squares are to be otherwise.

        Args:
            histories: what the model has read.
            wanted: by square, 0 mine, 1 theirs or 2 empty, of the side to move.

        Raises:
            InputError: a square that is that already, an unknown state, or a centre to be emptied.
        """
        before = Cases(histories, torch.zeros(len(histories)).long()).boards()
        states = before.squares().to(torch.uint8).argmax(1)
        mine, theirs = before.mine.clone(), before.theirs.clone()
        for square, state in wanted.items():
            if not 0 <= square < 64 or state not in (MINE, THEIRS, EMPTY):
                raise InputError(
                    f"square {square} to state {state}: squares are 0..63, states 0..2"
                )
            already = states[:, square] == state
            if bool(already.any()):
                what = ("mine", "theirs", "empty")[state]
                raise InputError(
                    f"{name(square)} is {what} already in history {int(already.nonzero()[0])}"
                )
            if state == EMPTY and square in CENTRE:
                raise InputError(
                    f"{name(square)} cannot be empty: the game begins with discs there"
                )
            bit = torch.tensor(1) << square
            mine = mine | bit if state == MINE else mine & ~bit
            theirs = theirs | bit if state == THEIRS else theirs & ~bit
        return Counterfactual(histories, before, Boards(mine, theirs, before.at, before.black))

    def last(self) -> Int64[Tensor, " case"]:
        """The ply of the last move of each history, where the model is edited and read."""
        return self.histories.lengths() - 1

    def changes(self, positions: Positions = "last") -> Changes:
        """The squares whose state is to change.

        At earlier moves ("all") a square has the colour that it is to have at the end, or is empty,
        from when it was taken on; where it has that anyway, or nothing yet, it is left alone.
        """
        old, new = (b.squares().to(torch.uint8).argmax(1) for b in (self.before, self.after))
        case, square = (old != new).nonzero().unbind(1)
        last = Changes(case, self.last()[case], square, old[case, square], new[case, square])
        if positions == "last":
            return last
        if positions != "all":
            raise InputError(f"positions are last or all: not {positions!r}")
        boards = self.histories.replay()
        states, lengths = boards.squares().to(torch.uint8).argmax(1), self.histories.lengths()
        first = lengths.cumsum(0) - lengths
        parts: list[Tensor] = []
        for c, s, to in zip(case.tolist(), square.tolist(), last.new.tolist(), strict=True):
            rows = slice(int(first[c]), int(first[c] + lengths[c]))
            seen, black = states[rows, s], boards.black[rows]
            turned = black != self.before.black[c]
            wanted = torch.where(turned & (to != EMPTY), 1 - to, to)
            apart = ((seen != wanted) & (seen != EMPTY)).nonzero()[:, 0]
            row = torch.stack([torch.full_like(apart, c), apart, torch.full_like(apart, s)])
            parts.append(torch.cat([row, seen[apart][None], wanted[apart][None]]))
        return Changes(*torch.cat(parts, 1).unbind(0)) if parts else last


def elsewhere(wanted: Counterfactual, *, seed: int = 0) -> Counterfactual:
    """A sham: another disc of each board is to be flipped, or erased where one should be.

    Raises:
        InputError: a board has no other disc.
    """
    changes = wanted.changes()
    erased = torch.zeros(len(wanted), dtype=torch.bool)
    erased[changes.case[changes.new == EMPTY]] = True
    stay = (wanted.before.squares() & wanted.after.squares())[:, :2].any(1)
    stay[:, list(CENTRE)] &= ~erased[:, None]
    if bool((~stay.any(1)).any()):
        raise InputError("a board has no other disc to change")
    generator = torch.Generator().manual_seed(seed)
    square = torch.multinomial(stay.float(), 1, generator=generator)[:, 0]
    bit = torch.ones_like(square) << square
    before = wanted.before
    mine = torch.where(erased, before.mine & ~bit, before.mine ^ bit)
    theirs = torch.where(erased, before.theirs & ~bit, before.theirs ^ bit)
    return Counterfactual(wanted.histories, before, Boards(mine, theirs, before.at, before.black))
