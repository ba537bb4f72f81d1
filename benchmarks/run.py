"""`make bench`: how fast the parts are on this machine, each beside its plain alternative.

Figures of one run belong together; machines are shared and noisy, so only ratios mean much.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from othellolens.gpt import model as gpt_model
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import PRESETS
from othellolens.gpt.train import GPTPlan, Trainer
from othellolens.memory import keep_memory
from othellolens.othello.games import random_games

# (name, allocator settings, fused attention, compiled, optimiser): each differs in one thing.
STEPS = (
    ("eager, default allocator, fused attention", False, True, False, "adamw"),
    ("eager, fused attention", True, True, False, "adamw"),
    ("eager, plain products", True, False, False, "adamw"),
    ("compiled, plain products", True, False, True, "adamw"),
    ("compiled, plain products, Muon", True, False, True, "muon"),
)


def median_time(work: Callable[[], object], runs: int = 5) -> float:
    """Seconds of one call, median over `runs` after one to warm up."""
    work()
    times: list[float] = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def game_speed() -> None:
    """Random play and replay, against the list-based twin of the tests."""
    count = 65_536
    games = random_games(count, seed=0)
    print(
        f"random play    {count / median_time(lambda: random_games(count, seed=0)):12,.0f} games/s"
    )
    print(f"replay         {count / median_time(games.replay_table):12,.0f} games/s")


def training_step(number: int) -> float:
    """Games a second of one kind of training step of `mini`."""
    _, allocator, fused, compiled, optimizer = STEPS[number]
    if allocator:
        keep_memory()
    if fused:
        gpt_model._explicit_is_faster = lambda _: False
    plan = GPTPlan(games=128 * 1000, optimizer=optimizer)
    steps = Trainer(GPT(PRESETS["mini"]), plan, seed=0, compiled=compiled).steps()
    return plan.batch / median_time(lambda: next(steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, help="measure one kind of training step, print JSON")
    asked = parser.parse_args()
    if asked.step is not None:
        print(json.dumps(training_step(asked.step)))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    game_speed()
    for number, (name, *_) in enumerate(STEPS):
        # A process each: allocator settings and compiled code must not leak from one to the next.
        command = [sys.executable, __file__, "--step", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"training step  {json.loads(done.stdout):8,.0f} games/s  bf16, {name}", flush=True)


if __name__ == "__main__":
    main()
