"""Other engines at the same task, in an environment of their own: random games to the end.

    python -m venv .venv-peers && .venv-peers/bin/pip install pgx creversi-python numba
    .venv-peers/bin/python benchmarks/game_peers.py

Prints one JSON object: games a second by engine. `make bench-game` runs it.
"""

import json
import random
import time
from collections.abc import Callable

import creversi._bitboard_np as creversi
import jax
import jax.numpy as jnp
import numpy as np
import pgx


def speed(work: Callable[[], object], games: int, runs: int = 3) -> float:
    work()
    times: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return games / sorted(times)[runs // 2]


def by_creversi(games: int = 65_536) -> float:
    """Its batch interface: legal moves and moves of many boards; the choice is ours, in numpy."""
    chance = np.random.default_rng(0)

    def play() -> None:
        mine = np.full(games, (1 << 28) | (1 << 35), np.uint64)
        theirs = np.full(games, (1 << 27) | (1 << 36), np.uint64)
        passed = 0
        while passed < 2:
            legal = creversi.mobility_batch(mine, theirs)
            passed = 0 if legal.any() else passed + 1
            square = chosen(legal, chance)
            mine, theirs = creversi.apply_move_batch(mine, theirs, square)

    return speed(play, games)


def chosen(legal: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """A random set bit of each word by halving; 64 where there is none."""
    rank = (chance.random(len(legal)) * np.bitwise_count(legal)).astype(np.uint64)
    square = np.zeros_like(legal)
    for width in (32, 16, 8, 4, 2, 1):
        low = np.bitwise_count((legal >> square) & np.uint64((1 << width) - 1)).astype(np.uint64)
        above = rank >= low
        rank -= np.where(above, low, np.uint64(0))
        square += np.where(above, np.uint64(width), np.uint64(0))
    return np.where(legal == 0, 64, square.astype(np.int64))


def by_pgx(games: int = 1024) -> float:
    """One compiled loop over a batch of games until all have ended."""
    env = pgx.make("othello")
    init, step = jax.vmap(env.init), jax.vmap(env.step)

    @jax.jit
    def play(key: jax.Array) -> jax.Array:
        def one(carry: tuple) -> tuple:
            state, key = carry
            key, sub = jax.random.split(key)
            logits = jnp.where(state.legal_action_mask, 0.0, -jnp.inf)
            return step(state, jax.random.categorical(sub, logits, axis=-1)), key

        state = init(jax.random.split(key, games))
        return jax.lax.while_loop(lambda c: ~c[0].terminated.all(), one, (state, key))[0].rewards

    return speed(lambda: play(jax.random.key(0)).block_until_ready(), games)


class BoardState:
    """A board as the research code of this field has it (its `OthelloBoardState`): an 8 x 8 array,
    every empty square tried in eight directions, one disc after the other. Written anew."""

    STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))

    def __init__(self) -> None:
        self.state = np.zeros((8, 8))
        self.state[3, 4] = self.state[4, 3] = 1
        self.state[3, 3] = self.state[4, 4] = -1
        self.color = 1

    def flips(self, square: int, color: int) -> list[tuple[int, int]]:
        row, column = divmod(square, 8)
        found: list[tuple[int, int]] = []
        if self.state[row, column] != 0:
            return found
        for down, right in self.STEPS:
            line: list[tuple[int, int]] = []
            r, c = row + down, column + right
            while 0 <= r < 8 and 0 <= c < 8 and self.state[r, c] == -color:
                line.append((r, c))
                r, c = r + down, c + right
            if line and 0 <= r < 8 and 0 <= c < 8 and self.state[r, c] == color:
                found += line
        return found

    def valid_moves(self) -> list[int]:
        """Those of the side to move; if it has none, those of the other, whose turn it becomes."""
        for color in (self.color, -self.color):
            moves = [square for square in range(64) if self.flips(square, color)]
            if moves:
                self.color = color
                return moves
        return []

    def play(self, square: int) -> None:
        for r, c in self.flips(square, self.color):
            self.state[r, c] *= -1
        self.state[square // 8, square % 8] = self.color
        self.color = -self.color


def by_board_state(games: int = 20) -> float:
    chance = random.Random(0)

    def play() -> None:
        for _ in range(games):
            board = BoardState()
            while moves := board.valid_moves():
                board.play(chance.choice(moves))

    return speed(play, games)


if __name__ == "__main__":
    found = {
        "pure Python, as OthelloBoardState": by_board_state(),
        "pgx, batch 1,024": by_pgx(),
        "creversi, batch 65,536": by_creversi(),
    }
    print(json.dumps(found))
