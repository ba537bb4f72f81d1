"""`make bench-game`: the speed of the game beside other engines, and the proof that it is right.

python benchmarks/game.py                       # speeds, peers where .venv-peers is there
python benchmarks/game.py --disk /tmp/games     # 20 million games written
python benchmarks/game.py --compare 100000      # replay against the list-based twin
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from othellolens.memory import keep_memory
from othellolens.othello import bitboards
from othellolens.othello.boards import to_bits
from othellolens.othello.games import Games, random_games
from othellolens.othello.shards import write_shards

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
PEERS = ROOT / ".venv-peers/bin/python"
COUNT = 262_144


def speed(work: Callable[[], object], games: int, runs: int = 5) -> float:
    """Games a second, median over `runs` after one to warm up."""
    work()
    times: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return games / sorted(times)[runs // 2]


def play_by_lists(count: int = 100) -> None:
    from reference import othello_by_lists as slow

    chance = random.Random(0)
    for _ in range(count):
        slow.random_game(chance)


def replay_by_lists(games: Games) -> None:
    from reference import othello_by_lists as slow

    for game in games.moves.tolist():
        slow.replay([square for square in game if square != -1])


def labels(games: Games) -> None:
    """Boards and legal moves of every ply, spelled out square by square, one byte a square."""
    table = games.replay_table()
    bitboards.labels(to_bits(table.mine), to_bits(table.theirs))
    bitboards.unpack(to_bits(table.legal))


def speeds() -> None:
    games = random_games(COUNT, seed=0)
    some = games[: COUNT // 16]
    ours = speed(lambda: random_games(COUNT, seed=0), COUNT)
    print(f"random play     {ours:12,.0f} games/s")
    peers = {"pure Python (tests/reference)": speed(play_by_lists, 100, runs=3)}
    if PEERS.exists():
        script = str(ROOT / "benchmarks/game_peers.py")
        done = subprocess.run([str(PEERS), script], capture_output=True, text=True, check=True)
        peers |= json.loads(done.stdout.splitlines()[-1])
    again = speed(lambda: random_games(COUNT, seed=0), COUNT)
    print(f"  the same, after the peers had run {again:,.0f} games/s")
    for name, theirs in peers.items():
        print(f"  {name:33} {theirs:12,.0f} games/s: ours is {again / theirs:,.0f} x")
    slow = speed(lambda: replay_by_lists(games[:100]), 100, runs=3)
    fast = speed(games.replay_table, COUNT)
    print(f"replay to bitboards  {fast:,.0f} games/s, {fast / slow:,.0f} x pure Python")
    wide = speed(lambda: labels(some), len(some))
    print(f"replay to int8 labels, [60, 64] x 2  {wide:,.0f} games/s")
    started = time.perf_counter()
    found = bitboards.perft(11)
    print(f"perft 11 = {found}: {time.perf_counter() - started:.2f} s")


def to_disk(folder: Path, count: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    shards = write_shards(folder, count, seed=0)
    wall = time.perf_counter() - started
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{len(shards):,} games, {size / 1e9:.2f} GB, hashed and written in {wall:.1f} s")


def differences(part: tuple[int, int]) -> tuple[int, int, int, int]:
    """(rows, rows that differ, passes, games that end early) of games first..stop."""
    from reference import othello_by_lists as slow

    first, stop = part
    games = random_games(stop - first, seed=0, first=first)
    table = games.replay_table()
    mine, theirs, legal = (to_bits(x).tolist() for x in table[:3])
    rows = wrong = passes = early = 0
    for g, moves in enumerate(games.moves.tolist()):
        game = [square for square in moves if square != -1]
        early += len(game) < 60
        for t, right in enumerate(slow.replay(game)):
            told = (mine[g][t], theirs[g][t], legal[g][t], bool(table.black[g, t]))
            sets = (sum(1 << s for s in x) for x in (right.mine, right.theirs, right.legal))
            rows, passes = rows + 1, passes + right.passed
            wrong += told != (*sets, right.black)
    return rows, wrong, passes, early


def compare(count: int) -> None:
    parts = [(i, min(i + 500, count)) for i in range(0, count, 500)]
    with ProcessPoolExecutor() as pool:
        found = np.array(list(pool.map(differences, parts))).sum(0)
    rows, wrong, passes, early = found.tolist()
    print(
        f"{count:,} games, {rows:,} positions, {passes:,} passes, {early:,} games that end early:"
        f" {wrong} positions differ from the list-based twin"
    )
    if wrong:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", type=int, help="compare so many games with the twin")
    parser.add_argument("--disk", type=Path, help="write games to this folder (it is replaced)")
    parser.add_argument("--count", type=int, default=20_000_000, help="games for --disk")
    asked = parser.parse_args()
    keep_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if asked.compare:
        compare(asked.compare)
    elif asked.disk:
        to_disk(asked.disk, asked.count)
    else:
        speeds()


if __name__ == "__main__":
    main()
