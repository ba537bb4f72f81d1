"""`make bench-judge`: all features x all facts x 11 thresholds x 2,000 games, beyond the harvest.

The peer is the plain way: one dense product of on and holds for each threshold, measured on a
slice in the same run and scaled up; a product of square matrices tells what this machine can do.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

import othellolens as ol
from othellolens.concepts import everything
from othellolens.evaluation.bootstrap import by_game, interval
from othellolens.evaluation.controls import Permuted
from othellolens.evaluation.counts import THRESHOLDS, Counts, count, peaks
from othellolens.evaluation.ranks import rank
from othellolens.evaluation.reconstruction import reconstruct
from othellolens.evaluation.recording import Recording
from othellolens.evaluation.relations import absorption, splitting
from othellolens.evaluation.scores import Scores, score
from othellolens.memory import keep_memory

T = TypeVar("T")


def timed(what: str, work: Callable[[], T], beyond: list[float]) -> T:
    begin = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - begin
    beyond.append(seconds)
    print(f"{what:44s} {seconds:8.1f} s", flush=True)
    return found


def dense(recorded: Recording, games: ol.Games, peak: Tensor, facts: int) -> float:
    """Seconds that dense products of all features and facts would take."""
    read = next(iter(recorded.read(games)))
    holds = torch.rand(len(read.features), facts).round()
    begin = time.perf_counter()
    for threshold in THRESHOLDS[:3]:
        _ = (read.features > threshold * peak).float().T @ holds
    once = (time.perf_counter() - begin) / 3
    positions = sum(len(r.features) for r in recorded.read(games))
    return once * len(THRESHOLDS) * positions / len(read.features)


def the_rest(recorded: Recording, games: ol.Games, counts: Counts, scores: Scores) -> None:
    """What `judge_fully` says besides: controls, boards, relations, scores without thresholds."""
    spent: list[float] = []
    for how in ("positions", "games"):
        control = Permuted(recorded, how)
        timed(
            f"counts where {how} change places",
            lambda control=control: count(control, games, counts.concepts, peak=counts.peak),
            spent,
        )
    names = counts.concepts.families
    timed(
        "facts of every family rebuilt",
        lambda: [reconstruct(recorded, games, counts=counts.only(name)) for name in names],
        spent,
    )
    timed("absorption", lambda: absorption(recorded, games, scores), spent)
    timed("splitting", lambda: splitting(recorded, games, counts), spent)
    timed("AUROC and average precision", lambda: rank(recorded, games, counts.concepts), spent)
    print(f"{'the rest of a full judgement':44s} {sum(spent):8.1f} s")


def matmul_rate() -> float:
    """FLOP/s of a float32 product of square matrices."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    _ = a @ b
    begin = time.perf_counter()
    for _ in range(3):
        _ = a @ b
    return 3 * 2 * 2048**3 / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--games", type=int, default=2000)
    asked = parser.parse_args()
    keep_memory()
    model, site = ol.load_gpt("mini"), ol.Site("resid_post", 3)
    sae = ol.TopK(width=asked.width, k=asked.k).build(model.width(site), seed=0).eval()
    games, concepts = ol.random_games(asked.games, seed=1), everything()
    warm = ol.random_games(4, seed=2)
    count(ol.Lens(model, site, sae), warm, ol.concepts.cells())
    spent: list[float] = []
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads;"
        f" {asked.width:,} features, {asked.k} on; {len(concepts):,} facts;"
        f" {len(THRESHOLDS)} thresholds; {asked.games:,} games"
    )
    lens = ol.Lens(model, site, sae)
    recorded = timed(
        "harvest (model, SAE, kept active features)", lambda: Recording(lens, games), []
    )
    peak = timed("peaks", lambda: peaks(recorded, games), spent)
    counts = timed("counts", lambda: count(recorded, games, concepts, peak=peak), spent)
    scores = timed("scores: best of every fact and feature", lambda: score(counts), spent)
    tallies = timed(
        "best detectors, game by game", lambda: by_game(recorded, games, scores, "concept"), spent
    )
    names = concepts.families
    timed(
        "intervals of every family",
        lambda: [interval(scores, tallies, name) for name in names],
        spent,
    )
    plain = dense(recorded, games, peak, len(concepts))
    positions = int(counts.positions.sum())
    work = 2 * positions * asked.width * len(concepts) * len(THRESHOLDS)
    rate, total = matmul_rate(), sum(spent)
    print(f"beyond the harvest                           {total:8.1f} s; {positions:,} positions")
    print(f"dense products would take                    {plain:8.1f} s ({plain / total:.1f} x)")
    print(
        f"as dense products, {work / 1e12:.0f} TFLOP; at this machine's {rate / 1e9:.0f} GFLOP/s"
        f" {work / rate:.0f} s: {work / rate / total:.1f} times its matrix rate"
    )
    the_rest(recorded, games, counts, scores)


if __name__ == "__main__":
    main()
