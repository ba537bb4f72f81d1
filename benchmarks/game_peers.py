"""Other engines at the same task, in an environment of their own: random games to the end.

    python -m venv .venv-peers && .venv-peers/bin/pip install pgx creversi-python numba
    .venv-peers/bin/python benchmarks/game_peers.py

Prints one JSON object: games a second by engine. `make bench-game` runs it.
"""

import json
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


if __name__ == "__main__":
    print(json.dumps({"pgx, batch 1,024": by_pgx(), "creversi, batch 65,536": by_creversi()}))
