"""What features are to concepts and to each other, on examples whose answers are known."""

import math

import pytest
import torch
from reference.said import Fixed, Said
from torch import Tensor

from othellolens.concepts import ConceptSet, family
from othellolens.evaluation.counts import SCORE, count
from othellolens.evaluation.relations import (
    absorption,
    agreement,
    detects,
    duplicates,
    splitting,
    stability,
)
from othellolens.evaluation.scores import score
from othellolens.othello.games import Games, random_games

LEGAL = family("legal")
F5 = 44
C4 = next(i for i, c in enumerate(LEGAL.concepts) if c.square == 19)
"""The column of c4 in the family."""


@pytest.fixture(scope="module")
def held() -> Games:
    return random_games(80, seed=1)


def c4(facts: Tensor) -> Tensor:
    """Whether c4 is legal, of the standard facts."""
    return facts[:, -60:][:, C4]


def test_a_concept_of_two_features_is_redundant(held: Games) -> None:
    mine = family("mine")
    reads = Said(lambda facts: torch.stack([facts[:, 0], facts[:, 0], facts[:, 1]], 1))
    found = detects(count(reads, held, mine))
    assert found[:, :2].tolist() == [[True, False], [True, False], [False, True]]
    assert found.sum(0)[:3].tolist() == [2, 1, 0]
    assert found.sum(1).tolist() == [1, 1, 1]


def test_detection_uses_the_threshold_of_the_other_half(held: Games) -> None:
    """On even games the feature must exceed 0.5 to be right, on odd ones any will do."""
    reads: list = []
    for read in Said(lambda facts: facts[:, :1]).read(held):
        even = (read.boards.at[:, 0] % 2 == 0)[:, None]
        blurred = torch.where(even, read.features * 0.6 + 0.4, read.features)
        reads.append(type(read)(read.boards, read.x, blurred))
    counts = count(Fixed(reads), held, family("mine"))
    assert bool(detects(counts)[0, 0])
    assert int(counts.fires[SCORE, 0, 0]) < int(counts.positions[SCORE])


def test_what_a_narrower_feature_takes_over_is_absorbed(held: Games) -> None:
    """The main feature of c4 is silent in a tenth of the cases; a feature of its own has these."""
    generator = torch.Generator().manual_seed(0)

    def say(facts: Tensor) -> Tensor:
        gone = torch.rand(len(facts), generator=generator) < 0.3
        lost = torch.rand(len(facts), generator=generator) < 0.1
        main = c4(facts) * ~gone * ~lost
        return torch.stack([main, c4(facts) * gone, 1 - c4(facts)], 1).float()

    reads = list(Said(say).read(held))
    scores = score(count(Fixed(reads), held, ConceptSet((LEGAL.concepts[C4],))))
    found = absorption(Fixed(reads), held, scores)
    odd = torch.cat([r.boards.at[:, 0] % 2 == 1 for r in reads])
    facts = torch.cat([LEGAL.of(r.boards)[:, C4] for r in reads])[odd]
    features = torch.cat([r.features for r in reads])[odd]
    silent = facts & (features[:, 0] == 0)
    assert found.missed.tolist() == [int(silent.sum())]
    assert found.absorbed.tolist() == [int((silent & (features[:, 1] > 0)).sum())]
    assert 0.6 < found.rate(torch.tensor([True])) < 0.95


def test_a_split_concept_is_joined_again(held: Games) -> None:
    """Mine on f5, split by phase into three features; a fourth is noise."""

    def say(facts: Tensor) -> Tensor:
        mine, filled = facts[:, F5], facts[:, 64:128].sum(1) + facts[:, :64].sum(1)
        third = (filled / 21).long().clamp(max=2)
        parts = [mine * (third == n) for n in range(3)]
        return torch.stack([*parts, (filled % 5 == 0).float()], 1)

    reads = Said(say)
    counts = count(reads, held, ConceptSet((family("mine").concepts[F5],)))
    unions = splitting(reads, held, counts, most=4).f1[:, 0].tolist()
    assert unions[0] < unions[1] < unions[2] == unions[3] == 1.0
    assert splitting(reads, held, counts, most=4).gain(torch.tensor([True])) == pytest.approx(
        1 - unions[0]
    )


def test_splitting_equals_loops(held: Games) -> None:
    """Unions of noisy features at thresholds of their own, against sets of positions."""
    generator = torch.Generator().manual_seed(3)

    def say(facts: Tensor) -> Tensor:
        noise = torch.rand(len(facts), 9, generator=generator)
        return (facts[:, :9] * noise + 0.5 * facts[:, 64:73] * noise.flip(1)).relu()

    games = held[:9]
    reads = Fixed(list(Said(say).read(games)))
    concepts = ConceptSet(family("mine").concepts[:12])
    counts = count(reads, games, concepts)
    found = splitting(reads, games, counts, most=3, candidates=4).f1
    features = torch.cat([read.features for read in reads.reads])
    facts = torch.cat([concepts.of(read.boards) for read in reads.reads])
    odd = torch.cat([read.boards.at[:, 0] % 2 == 1 for read in reads.reads])

    def f1(on: Tensor, holds: Tensor) -> float:
        return 2 * int((on & holds).sum()) / max(1, int(on.sum() + holds.sum()))

    for concept in range(12):
        holds, options = facts[:, concept], []
        for feature in range(9):
            bars = [t * counts.peak[feature] for t in counts.thresholds]
            on = [features[:, feature] > bar for bar in bars]
            scores = [f1(x[~odd], holds[~odd]) for x in on]
            options.append((max(scores), on[scores.index(max(scores))]))
        options = sorted(options, key=lambda option: -option[0])[:4]
        union, best, last = torch.zeros(len(facts), dtype=torch.bool), -1.0, 0.0
        for number in range(3):
            scores = [f1((union | on)[~odd], holds[~odd]) for _, on in options]
            if max(scores) > best:
                best = max(scores)
                union = union | options[scores.index(best)][1]
                last = f1(union[odd], holds[odd])
            assert float(found[number, concept]) == pytest.approx(last)
    assert float((found[2] - found[0]).abs().max()) > 0.01


def test_features_that_are_on_together_are_twins(held: Games) -> None:
    def say(facts: Tensor) -> Tensor:
        rare = torch.zeros(len(facts))
        rare[:3] = 1
        return torch.stack([facts[:, 0], 2 * facts[:, 0], facts[:, 1], rare, rare], 1)

    (twin,) = duplicates(Said(say), held)
    assert twin == (0, 1, 1.0)
    every = duplicates(Said(say), held, alike=0.05)
    pairs = {(t.one, t.other): t.jaccard for t in every}
    one, other = (torch.cat([say(r.features)[:, i] for r in Said(lambda f: f).read(held)])
                  for i in (0, 2))  # fmt: skip
    both, either = int((one.bool() & other.bool()).sum()), int((one.bool() | other.bool()).sum())
    assert pairs[0, 2] == pytest.approx(both / either)


def test_stability_of_decoders() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(12, 40, generator=generator)
    order = torch.randperm(12, generator=generator)
    signs = torch.ones(12, 1)
    signs[::2] = -3
    assert stability(vectors, signs * vectors[order]) == pytest.approx((1.0, 1.0), abs=1e-5)
    other = torch.randn(9, 40, generator=generator)
    found = stability(vectors, other)
    assert 0 < found.matched <= found.nearest < 0.8
    doubled = torch.cat([vectors[:1], vectors[:1]])
    half = stability(doubled, torch.cat([vectors[:1], torch.eye(40)[:1]]))
    assert half.nearest > half.matched


@pytest.mark.parametrize("sizes", [(1, 1), (7, 7), (30, 12), (12, 30)])
def test_pairs_are_those_of_the_most_alike_first(sizes: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    one, other = (torch.randn(size, 8, generator=generator) for size in sizes)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (one, other)]
    left = {
        (i, j): abs(float(unit[0][i] @ unit[1][j]))
        for i in range(sizes[0])
        for j in range(sizes[1])
    }
    values: list[float] = []
    while left:
        row, column = max(left, key=lambda pair: left[pair])
        values.append(left[row, column])
        left = {pair: v for pair, v in left.items() if pair[0] != row and pair[1] != column}
    assert len(values) == min(sizes)
    assert stability(one, other).matched == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert stability(torch.zeros(3, 4), torch.zeros(2, 4)) == (0.0, 0.0)


def test_agreement_of_what_was_found() -> None:
    one, other = torch.tensor([0.9, 0.85, 0.2, 0.1]), torch.tensor([0.95, 0.5, 0.9, 0.1])
    shared, apart = agreement(one, other)
    assert shared == pytest.approx(1 / 3)
    assert apart == pytest.approx((0.05 + 0.35 + 0.7 + 0) / 4)
    nothing, apart = agreement(one * 0, other * 0)
    assert math.isnan(nothing)
    assert apart == 0.0
