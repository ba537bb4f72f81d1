"""Positions to compare two implementations on, as sets of squares and as boards."""

import random

import torch
from reference.othello_by_lists import Replayed

from othellolens.othello.boards import Boards, pack, to_tensor
from othellolens.othello.games import Games

Position = tuple[set[int], set[int]]


def scattered(count: int, seed: int) -> list[Position]:
    """Positions that no game reaches: any disc anywhere, from nearly empty to full."""
    chance = random.Random(seed)
    positions: list[Position] = [(set(), set()), (set(range(64)), set()), (set(), set(range(64)))]
    for _ in range(count):
        full, mine = chance.uniform(0.05, 1.0), chance.uniform(0.05, 0.95)
        filled = {square for square in range(64) if chance.random() < full}
        own = {square for square in filled if chance.random() < mine}
        positions.append((own, filled - own))
    return positions


def from_games(replayed: Replayed, every: int) -> list[Position]:
    rows = [row for _, after in replayed for row in after]
    return [(row.mine, row.theirs) for row in rows[::every]]


def boards_of(positions: list[Position]) -> Boards:
    """Row i gets `at` = (i, 0)."""
    squares = torch.zeros(2, len(positions), 64, dtype=torch.bool)
    for row, sides in enumerate(positions):
        for side in (0, 1):
            squares[side, row, sorted(sides[side])] = True
    mine, theirs = (to_tensor(pack(side.numpy())) for side in squares)
    at = torch.stack([torch.arange(len(positions)), torch.zeros(len(positions))], 1)
    return Boards(mine, theirs, at.int(), torch.ones(len(positions), dtype=torch.bool))


def listed(*games: list[int], plies: int = 60) -> Games:
    """Games from lists of squares."""
    moves = torch.full((len(games), plies), -1, dtype=torch.int8)
    for row, game in enumerate(games):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    return Games(moves, "by hand")


def set_of(row: torch.Tensor) -> set[int]:
    """The squares of one row of booleans."""
    return set(row.nonzero().flatten().tolist())
