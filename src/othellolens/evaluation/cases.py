"""Cases of the intervention benchmark: a history of moves, and a disc that is to be another.

Li et al. 2022 (https://arxiv.org/abs/2210.13382), section 4: the model has read a history; its
inside is edited so that one disc has the other colour, or none (Nanda et al. 2023); then its moves
should be those that are legal on the edited board, for the same side to move.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..artifact import read_json, write_json
from ..errors import InputError
from ..othello.boards import Boards, unpack
from ..othello.games import Games, random_games
from ..othello.records import parse_game, to_text
from ..othello.squares import CENTRE, NO_MOVE, name, parse

Edit: TypeAlias = Literal["flip", "erase"]

PLIES = (5, 30)
"""Shortest and longest history of the published cases."""


@dataclass(frozen=True)
class Cases:
    """Histories, and for each a square whose disc is to be edited."""

    histories: Games
    """Cut where the edit is made; -1 after that."""
    squares: Int64[Tensor, " case"]

    def __post_init__(self) -> None:
        if len(self.histories) != len(self.squares):
            raise InputError(
                f"{len(self.histories)} histories and {len(self.squares)} squares: one for each"
            )
        if bool((self.histories.lengths() == 0).any()):
            raise InputError("a case needs at least one move: the model has read nothing yet")

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, rows: slice) -> "Cases":
        return Cases(self.histories[rows], self.squares[rows])

    def last(self) -> Int64[Tensor, " case"]:
        """The ply of the last move of each history, where the model is edited and read."""
        return self.histories.lengths() - 1

    def boards(self) -> Boards:
        """The position of each case, before the edit."""
        ends = self.histories.lengths().cumsum(0) - 1
        return self.histories.replay()[ends]

    def mine(self) -> Bool[Tensor, " case"]:
        """Whether the disc belongs to the side to move before the edit."""
        return unpack(self.boards().mine)[torch.arange(len(self)), self.squares]

    def edited(self, edit: Edit) -> Boards:
        """The position of each case after the edit, the same side to move.

        Raises:
            InputError: a square that holds no disc, or a disc of the centre that is to be erased.
        """
        boards = self.boards()
        bit = torch.ones(len(self), dtype=torch.int64) << self.squares
        bare = (boards.mine | boards.theirs) & bit == 0
        if bool(bare.any()):
            case = int(bare.nonzero()[0])
            raise InputError(f"case {case}: {name(int(self.squares[case]))} holds no disc to edit")
        centre = torch.isin(self.squares, torch.tensor(CENTRE))
        if edit == "erase" and bool(centre.any()):
            case = int(centre.nonzero()[0])
            raise InputError(f"case {case}: {name(int(self.squares[case]))} cannot be empty")
        mine, theirs = boards.mine & ~bit, boards.theirs & ~bit
        if edit == "flip":
            mine = torch.where(boards.mine & bit != 0, mine, mine | bit)
            theirs = torch.where(boards.theirs & bit != 0, theirs, theirs | bit)
        return Boards(mine, theirs, boards.at, boards.black)

    def save(self, path: str | Path) -> None:
        """Write the cases as JSON: histories in players' notation and squares."""
        texts = to_text(self.histories).splitlines()
        cases = [
            {"history": text, "square": name(square)}
            for text, square in zip(texts, self.squares.tolist(), strict=True)
        ]
        write_json(Path(path), {"origin": self.histories.origin, "cases": cases})

    @staticmethod
    def load(path: str | Path) -> "Cases":
        """Read what `save` wrote.

        Raises:
            InputError: no such file, not such a file, or a history that cannot be played.
        """
        saved = read_json(Path(path))
        try:
            lists = [parse_game(case["history"]) for case in saved["cases"]]
            squares = [parse(case["square"]) for case in saved["cases"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} holds no cases: each needs a history and a square") from error
        found = Cases(_games(lists, str(saved.get("origin", path))), torch.tensor(squares).long())
        found.boards()
        return found


def natural_cases(count: int, *, seed: int = 0, plies: tuple[int, int] = PLIES) -> Cases:
    """Cases on random games: the natural subset of Li et al., whose edit leaves a legal move.

    The length of the history is drawn uniformly from `plies`, the disc from those that are not on
    the four squares of the centre; a case that leaves the side to move without a legal move once
    the disc is flipped is drawn again.

    Args:
        count: how many.
        seed: of the games, lengths and discs; another list than `random_games(seed=seed)` trains
            on is wanted where a model was trained on that.
        plies: shortest and longest history.
    """
    generator = torch.Generator().manual_seed(seed)
    lists: list[list[int]] = []
    squares: list[int] = []
    first = 0
    while len(lists) < count:
        games = random_games(first + 2 * count, seed=seed)[first:]
        first += 2 * count
        for game in games.moves.tolist():
            case = _drawn(game, generator, plies)
            if case is not None and len(lists) < count:
                lists.append(case[0])
                squares.append(case[1])
    origin = f"natural cases seed={seed} count={count}"
    return Cases(_games(lists, origin), torch.tensor(squares, dtype=torch.int64))


def _drawn(
    game: list[int], generator: torch.Generator, plies: tuple[int, int]
) -> tuple[list[int], int] | None:
    """A history and a square; None: the game is too short, or no legal move would be left."""
    low, high = plies
    length = int(torch.randint(low, high + 1, (1,), generator=generator))
    history = [square for square in game[:length] if square != NO_MOVE]
    played = [square for square in history if square not in CENTRE]
    square = played[int(torch.randint(len(played), (1,), generator=generator))]
    if len(history) < length:
        return None
    one = Cases(_games([history], ""), torch.tensor([square]))
    return (history, square) if int(one.edited("flip").legal()[0]) else None


def _games(lists: list[list[int]], origin: str) -> Games:
    moves = torch.full((len(lists), 60), NO_MOVE, dtype=torch.int8)
    for row, squares in enumerate(lists):
        moves[row, : len(squares)] = torch.tensor(squares, dtype=torch.int8)
    return Games(moves, origin)
