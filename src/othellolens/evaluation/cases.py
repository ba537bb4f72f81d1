"""Cases of the intervention benchmark: a history of moves, and a disc that is to be another.

Li et al. 2022 (https://arxiv.org/abs/2210.13382), section 4: the model has read a history; its
inside is edited so that one disc has the other colour, or none (Nanda et al. 2023); then its moves
should be those that are legal on the edited board, for the same side to move.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from ..artifact import read_json, write_json
from ..errors import InputError
from ..othello import truth
from ..othello.boards import Boards, unpack
from ..othello.games import Games, random_games
from ..othello.records import parse_game, to_text
from ..othello.records.pickles import Machine, Refused
from ..othello.squares import CENTRE, MAX_PLIES, NO_MOVE, SQUARES, name, parse

Edit: TypeAlias = Literal["flip", "erase"]

PLIES = (5, 30)
"""Shortest and longest history of the published cases."""
_PATIENCE = 2000
"""Games a case that are tried before we give up."""


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
        """Read what `save` wrote, or the published `intervention_benchmark.pkl`, by content.

        The published file is a pickle of dictionaries `{history, pos_int, ori_color}`, colours 0
        white and 2 black. Nothing in it is run.

        Raises:
            InputError: no such file, not such a file, a history that cannot be played, or a colour
                that is not that of the disc.
        """
        path = Path(path)
        if path.is_file() and not path.read_bytes().startswith(b"{"):
            return _published(path)
        saved = read_json(path)
        try:
            lists = [parse_game(case["history"]) for case in saved["cases"]]
            squares = [parse(case["square"]) for case in saved["cases"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} holds no cases: each needs a history and a square") from error
        found = Cases(_games(lists, str(saved.get("origin", path))), torch.tensor(squares).long())
        found.boards()
        return found


def _published(path: Path) -> Cases:
    try:
        dicts = Machine(path.read_bytes(), records=True).run()
    except Refused as error:
        raise InputError(
            f"{path} is a pickle that is not read: {error}. Only a list of dictionaries of"
            " history, pos_int and ori_color is; nothing was run"
        ) from None
    if not isinstance(dicts, list) or not dicts:
        raise InputError(f"{path} holds no list of cases")
    for number, case in enumerate(dicts):
        _check_published(path, number, case)
    lists = [case["history"] for case in dicts]
    squares = torch.tensor([int(case["pos_int"]) for case in dicts])
    found = Cases(_games(lists, f"file {path.name}"), squares)
    black = torch.tensor([case["ori_color"] == 2 for case in dicts])
    wrong = (found.mine() == found.boards().black) != black
    if bool(wrong.any()):
        case = int(wrong.nonzero()[0])
        raise InputError(
            f"{path}: case {case}: {name(int(squares[case]))} is not of the colour ori_color says"
        )
    return found


def _check_published(path: Path, number: int, case: object) -> None:
    if not isinstance(case, dict):
        raise InputError(f"{path}: case {number} is no dictionary of history, pos_int, ori_color")
    history, square = case.get("history"), case.get("pos_int")
    moves = isinstance(history, list) and all(isinstance(move, int) for move in history)
    if not moves or not 0 < len(history or []) <= MAX_PLIES or square not in SQUARES:
        raise InputError(f"{path}: case {number} needs a history of squares and a pos_int (0..63)")
    if case.get("ori_color") not in (0, 2) or not all(move in SQUARES for move in history or []):
        raise InputError(f"{path}: case {number} needs squares of 0..63 and an ori_color of 0 or 2")


def natural_cases(count: int, *, seed: int = 0, plies: tuple[int, int] = PLIES) -> Cases:
    """Cases on random games, drawn as the published natural set was.

    For every case a length is drawn uniformly from `plies`, then histories of that length and one
    of the discs that were placed (hence none of the centre), until the flip of the disc makes a
    legal move illegal and leaves a legal move. That condition is nowhere written; the published
    cases' figures call for it. Of 30,000 such cases 10.63 moves are legal before and 9.98 after a
    flip (published: 10.62, 9.97), 2.08 squares differ (2.118), and the oracle's null is 2.74 for
    flips and 2.68 for erasures (2.785 and 2.730, of 1,001 cases, with standard errors of 0.03).

    Args:
        count: how many.
        seed: of the games, lengths and discs; another list than `random_games(seed=seed)` trains
            on is wanted where a model was trained on that.
        plies: shortest and longest history.
    """

    def fit(cases: Cases) -> Tensor:
        before, after = cases.boards().legal(), cases.edited("flip").legal()
        return (before & ~after != 0) & (after != 0)

    return _drawn(f"natural cases seed={seed} count={count}", count, seed, plies, fit)


def unnatural_cases(count: int, *, seed: int = 0, plies: tuple[int, int] = PLIES) -> Cases:
    """Cases whose board with the disc erased cannot come from any game.

    Every disc is placed beside another, so that the discs of a game always hang together, corners
    included. Here they do not once the disc is erased. Its flip and its erasure both leave a legal
    move, and the erasure changes the legal moves. Li et al. had 1,000 unnatural cases that
    were never published; they say no more of them than that no game leads there.
    """

    def fit(cases: Cases) -> Tensor:
        erased = cases.edited("erase")
        after, discs = erased.legal(), erased.mine | erased.theirs
        changed = (after != cases.boards().legal()) & (after != 0)
        return changed & (cases.edited("flip").legal() != 0) & ~_hang_together(discs)

    return _drawn(f"unnatural cases seed={seed} count={count}", count, seed, plies, fit)


def flipped_cases(count: int, *, seed: int = 0, plies: tuple[int, int] = PLIES) -> Cases:
    """Cases whose disc was turned over by the last move: to flip it is to undo that.

    For the intervention that subtracts the FLIPPED direction (Nanda et al. 2023).
    """

    def fit(cases: Cases) -> Tensor:
        ends = cases.histories.lengths().cumsum(0) - 1
        flips = truth.turns(cases.histories.replay()).flips[ends]
        before, after = cases.boards().legal(), cases.edited("flip").legal()
        return ((flips >> cases.squares) & 1 == 1) & (before & ~after != 0) & (after != 0)

    return _drawn(f"flipped cases seed={seed} count={count}", count, seed, plies, fit)


def _drawn(
    origin: str,
    count: int,
    seed: int,
    plies: tuple[int, int],
    fit: Callable[[Cases], Bool[Tensor, " case"]],
) -> Cases:
    """Histories of random games, and of each one disc, uniformly drawn from those that fit."""
    low, high = plies
    if count < 1 or not 1 <= low <= high <= MAX_PLIES:
        raise InputError(
            f"{count} cases of {low} to {high} moves: ask for at least one, of 1 to {MAX_PLIES}"
        )
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randint(low, high + 1, (count,), generator=generator)
    moves = torch.full((count, MAX_PLIES), NO_MOVE, dtype=torch.int8)
    squares = torch.full((count,), NO_MOVE)
    first = 0
    while bool((open_ := squares < 0).any()):
        if first > _PATIENCE * count:
            raise InputError(f"{first:,} games hold only {int((~open_).sum()):,} such cases")
        size = max(64, int(open_.sum()))
        games = random_games(first + size, seed=seed)[first:]
        first += size
        rows = open_.nonzero()[:, 0].repeat(-(-size // int(open_.sum())))[:size]
        cut = games.moves.clone()
        cut[torch.arange(MAX_PLIES) >= wanted[rows, None]] = NO_MOVE
        drawn = _draw(Games(cut, origin), wanted[rows], generator, fit)
        for game, square in drawn.flip(1).T.tolist():
            moves[rows[game]], squares[rows[game]] = cut[game], square
    return Cases(Games(moves, origin), squares)


def _draw(
    histories: Games,
    lengths: Int64[Tensor, " case"],
    generator: torch.Generator,
    fit: Callable[[Cases], Bool[Tensor, " case"]],
) -> Int64[Tensor, "2 drawn"]:
    """One disc of each history that is long enough: history and square of those that fit."""
    placed = histories.moves.long()
    kept = (histories.lengths() == lengths).nonzero()[:, 0]
    plies = torch.multinomial((placed[kept] >= 0).float(), 1, generator=generator)[:, 0]
    squares = placed[kept, plies]
    good = fit(Cases(Games(histories.moves[kept], histories.origin), squares))
    return torch.stack([kept[good], squares[good]])


def _hang_together(discs: Int64[Tensor, " position"]) -> Bool[Tensor, " position"]:
    """Whether all discs of a position are neighbours of neighbours, corners included."""
    squares = unpack(discs).float().unflatten(1, (1, 8, 8))
    numbers = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8) * squares
    for _ in range(64):
        spread = F.max_pool2d(numbers, 3, stride=1, padding=1) * squares
        if torch.equal(spread, numbers):
            break
        numbers = spread
    least = torch.where(squares > 0, numbers, 65.0).flatten(1).amin(1)
    return least == numbers.flatten(1).amax(1)


def _games(lists: list[list[int]], origin: str) -> Games:
    moves = torch.full((len(lists), MAX_PLIES), NO_MOVE, dtype=torch.int8)
    for row, squares in enumerate(lists):
        moves[row, : len(squares)] = torch.tensor(squares, dtype=torch.int8)
    return Games(moves, origin)
