"""Boards: many positions at once, each seen by the side to move."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from . import bitboards
from .bitboards import Bits

SYMMETRIES = range(8)
"""0 leaves the board as it is; bit 0 mirrors the letters, bit 1 the digits, bit 2 transposes."""


def to_bits(x: Tensor) -> Bits:
    """An int64 tensor of bitboards as numpy uint64, without a copy on the CPU."""
    return x.cpu().numpy().view(np.uint64)


def to_tensor(bits: Bits) -> Tensor:
    """numpy uint64 bitboards as an int64 tensor, without a copy."""
    return torch.from_numpy(np.ascontiguousarray(bits).view(np.int64))


@dataclass(frozen=True)
class Boards:
    """Positions, one a row, as bitboards (bit s = square s) of the side to move by the rules.

    Row (g, t) of `at` is the moment after move t of game g: the board holds move t, and `mine` are
    the discs of the player who moves next, passes honoured. After the last move of a game nobody
    moves next; `mine` are then the discs of the opponent of the last mover.
    """

    mine: Int64[Tensor, " position"]
    theirs: Int64[Tensor, " position"]
    at: Int32[Tensor, "position 2"]
    """(game, ply)."""
    black: Bool[Tensor, " position"]
    """Whether the side to move is Black. Not the parity of the ply: passes break that."""

    def __len__(self) -> int:
        return len(self.mine)

    def __getitem__(self, rows: slice | Tensor) -> "Boards":
        return Boards(self.mine[rows], self.theirs[rows], self.at[rows], self.black[rows])

    def legal(self) -> Int64[Tensor, " position"]:
        """Bitboards of the moves that the side to move may make; 0 only where the game is over."""
        return to_tensor(bitboards.legal_moves(to_bits(self.mine), to_bits(self.theirs)))

    def after(self, square: Int64[Tensor, " position"]) -> "Boards":
        """The positions behind one more move of the side to move, passes honoured.

        Raises:
            InputError: a move that the rules do not allow.
        """
        move = torch.ones_like(square) << square
        if bool((self.legal() & move == 0).any()):
            row = int((self.legal() & move == 0).nonzero()[0])
            raise InputError(f"position {row}: {int(square[row])} is not a legal move there")
        flips = to_tensor(
            bitboards.flipped_by(to_bits(move), to_bits(self.mine), to_bits(self.theirs))
        )
        own, other = self.mine | move | flips, self.theirs & ~flips
        stuck, can = (
            to_tensor(bitboards.legal_moves(to_bits(a), to_bits(b)))
            for a, b in ((other, own), (own, other))
        )
        again = (stuck == 0) & (can != 0)
        return Boards(
            torch.where(again, own, other),
            torch.where(again, other, own),
            self.at + torch.tensor([0, 1], dtype=torch.int32),
            torch.where(again, self.black, ~self.black),
        )

    def squares(self) -> Bool[Tensor, "position 3 64"]:
        """For each square whether it is mine, theirs, empty (in this order)."""
        mine, theirs = unpack(self.mine), unpack(self.theirs)
        return torch.stack([mine, theirs, ~(mine | theirs)], dim=1)

    def transformed(self, symmetry: int) -> "Boards":
        """The boards under one of the 8 symmetries of the square (see `SYMMETRIES`)."""
        return replace(
            self, mine=_transform(self.mine, symmetry), theirs=_transform(self.theirs, symmetry)
        )

    def text(self, row: int) -> str:
        """Nine lines, letters across and digits down: X black, O white, * legal, . empty."""
        one = self[row : row + 1]
        mine, theirs, legal = (unpack(x)[0] for x in (one.mine, one.theirs, one.legal()))
        own, other = ("X", "O") if bool(one.black[0]) else ("O", "X")
        signs = np.where(mine, own, np.where(theirs, other, np.where(legal, "*", ".")))
        lines = [f"{digit + 1} {' '.join(signs[digit::8])}" for digit in range(8)]
        return "\n".join([f"  a b c d e f g h   {own} to move", *lines])

    @staticmethod
    def parse(texts: Sequence[str]) -> "Boards":
        """Boards from their text form; row i gets `at` = (i, 0).

        Raises:
            InputError: a text has not the nine lines that `text` writes.
        """
        cells = [_cells(text) for text in texts]
        black = np.array([to_move == "X" for _, to_move in cells], dtype=np.bool_)
        signs = np.array([squares for squares, _ in cells]).reshape(-1, 64)
        own = np.where(black, "X", "O")[:, None]
        mine = pack(signs == own)
        theirs = pack((signs != own) & np.isin(signs, ("X", "O")))
        at = torch.stack([torch.arange(len(texts)), torch.zeros(len(texts))], 1).to(torch.int32)
        return Boards(to_tensor(mine), to_tensor(theirs), at, torch.from_numpy(black))


def unpack(x: Int64[Tensor, "*shape"]) -> Bool[Tensor, "*shape 64"]:
    """Bitboards spelled out, square by square."""
    return torch.from_numpy(bitboards.unpack(to_bits(x)))


def pack(squares: NDArray[np.bool_]) -> Bits:
    """Bitboards from a boolean array whose last axis is the 64 squares."""
    octets = np.packbits(squares, axis=-1, bitorder="little")
    return np.ascontiguousarray(octets).view("<u8")[..., 0].astype(np.uint64, copy=False)


def transform_squares(symmetry: int) -> NDArray[np.intp]:
    """`out[s]` is the square to which symmetry number `symmetry` takes square s."""
    if symmetry not in SYMMETRIES:
        raise InputError(f"there is no symmetry {symmetry}: they are numbered 0 to 7")
    letter, digit = np.divmod(np.arange(64), 8)
    letter = 7 - letter if symmetry & 1 else letter
    digit = 7 - digit if symmetry & 2 else digit
    return 8 * digit + letter if symmetry & 4 else 8 * letter + digit


def _transform(x: Tensor, symmetry: int) -> Tensor:
    target = transform_squares(symmetry)
    spelled = bitboards.unpack(to_bits(x))
    moved = np.zeros_like(spelled)
    moved[:, target] = spelled
    return to_tensor(pack(moved))


def _cells(text: str) -> tuple[list[str], str]:
    lines = text.strip("\n").split("\n")
    rows = [line.split()[1:] for line in lines[1:]]
    head = lines[0].split()
    good = len(rows) == 8 and all(len(row) == 8 for row in rows) and head[-2:] == ["to", "move"]
    good = good and head[-3:-2] in (["X"], ["O"])
    if not good or any(sign not in "XO*." for row in rows for sign in row):
        raise InputError(
            "not a board: write the line '  a b c d e f g h   X to move' and eight lines"
            " of a digit and eight signs out of X O * ."
        )
    by_square = [rows[digit][letter] for letter in range(8) for digit in range(8)]
    return by_square, head[-3]
