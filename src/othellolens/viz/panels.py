"""Panels: what is to be seen on one board, as plain data that anybody can draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..othello.boards import Boards
from ..othello.squares import SQUARES, name
from .drawing import plain

T = TypeVar("T")


@dataclass(frozen=True)
class Panel:
    """One board with a value for each square. Squares are 8 * letter + (digit - 1): f5 is 44."""

    title: str
    values: Float[Tensor, " square"]
    """NaN where there is none."""
    discs: str | None = None
    """64 signs in the order of the squares: X black, O white, . empty; None: no discs known."""
    black: bool | None = None
    """Whether Black is to move, so that X are mine and O are theirs; None: not known."""
    marks: tuple[int, ...] = ()
    """Squares with an outline."""
    last: int | None = None
    """The square of the last move, shown as a dot."""
    text: str = ""
    """A line beneath the board."""

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != (64,):
            raise InputError(
                f"values of the shape {tuple(self.values.shape)}: a panel has one for each of the"
                " 64 squares"
            )
        if self.discs is not None and (len(self.discs) != 64 or set(self.discs) - set("XO.")):
            raise InputError("discs are 64 signs in the order of the squares: X, O or .")
        for square in (*self.marks, *([] if self.last is None else [self.last])):
            name(square)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; None for NaN."""
        return vars(self) | {"values": plain(self.values), "marks": list(self.marks)}

    @staticmethod
    def of(saved: dict[str, Any]) -> "Panel":
        """What `to_dict` made, as a panel again."""
        values = [float("nan") if value is None else value for value in saved["values"]]
        kept: dict[str, Any] = {**saved, "values": torch.tensor(values)}
        kept["marks"] = tuple(saved["marks"])
        return Panel(**kept)


def panel(
    values: Float[Tensor, " square"],
    title: str = "",
    *,
    boards: Boards | None = None,
    marks: Sequence[int] = (),
    last: int | None = None,
    text: str = "",
) -> Panel:
    """A panel of 64 values, with the discs of a position.

    Args:
        values: one a square; NaN: none.
        title: above the board.
        boards: one row, the position whose discs are drawn.
        marks: squares to outline.
        last: square of the last move.
        text: a line beneath the board.

    Raises:
        InputError: not 64 values, not one position, or a square that there is not.
    """
    discs = None if boards is None else signs(boards)
    black = None if boards is None else bool(boards.black[0])
    kept = values.detach().float().cpu()
    return Panel(title, kept, discs, black, tuple(int(mark) for mark in marks), last, text)


def position_panel(boards: Boards, title: str = "", *, last: int | None = None) -> Panel:
    """A position and nothing else: one row of boards, legal moves outlined."""
    values, marks = torch.full((64,), torch.nan), legal_squares(boards)
    return panel(values, title, boards=boards, marks=marks, last=last, text=to_move(boards))


def panels_of(
    values: Float[Tensor, "row square"],
    titles: Sequence[str],
    *,
    boards: Boards | None = None,
    marks: Sequence[int] = (),
    last: int | None = None,
) -> list[Panel]:
    """A panel a row: of one position, or of as many as there are rows.

    Raises:
        InputError: as many titles, or positions, as there are not rows.
    """
    if len(titles) != len(values):
        raise InputError(f"{len(values)} boards and {len(titles)} titles: give one for each")
    if boards is not None and len(boards) not in (1, len(values)):
        raise InputError(f"{len(values)} boards of {len(boards)} positions: give one, or one each")
    each = [None if boards is None else boards[_row(boards, i)] for i in range(len(values))]
    return [
        panel(row, title, boards=board, marks=marks, last=last)
        for row, title, board in zip(values, titles, each, strict=True)
    ]


def place(square: int) -> tuple[int, int]:
    """Where a square is drawn: its column (letters run across), its row (digits run down)."""
    letter, digit = divmod(square, 8)
    return letter, digit


def on_board(items: Sequence[T]) -> list[list[T]]:
    """64 things in the order of the squares as they lie on the board, row by row from the top."""
    rows: list[list[T]] = [[items[0]] * 8 for _ in range(8)]
    for square in SQUARES:
        column, row = place(square)
        rows[row][column] = items[square]
    return rows


def signs(boards: Boards) -> str:
    """The discs of one position in true colours: 64 signs, X black, O white, . empty.

    Raises:
        InputError: not one position.
    """
    mine, theirs, _ = one_position(boards).squares()[0]
    own, other = ("X", "O") if bool(boards.black[0]) else ("O", "X")
    return "".join(own if mine[s] else other if theirs[s] else "." for s in SQUARES)


def one_position(boards: Boards) -> Boards:
    """The boards themselves, if they are one row.

    Raises:
        InputError: they are not.
    """
    if len(boards) != 1:
        raise InputError(f"{len(boards)} positions: a board shows one; give one row of boards")
    return boards


def legal_squares(boards: Boards) -> tuple[int, ...]:
    """The legal moves of one position."""
    moves = int(one_position(boards).legal()[0])
    return tuple(square for square in SQUARES if (moves >> square) & 1)


def to_move(boards: Boards) -> str:
    """Who moves next at one position, in words."""
    if not legal_squares(boards):
        return "the game is over"
    return f"{'Black' if bool(boards.black[0]) else 'White'} to move"


def _row(boards: Boards, row: int) -> slice:
    return slice(0, 1) if len(boards) == 1 else slice(row, row + 1)
