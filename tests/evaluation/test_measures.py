"""Measures, ranks, intervals and controls of the judge, against loops and against known answers."""

import pytest
import torch
from reference import judged_by_loops as slow
from reference.said import Fixed, Said
from torch import Tensor

from othellolens.concepts import cells, family, standard
from othellolens.encoder import Neurons
from othellolens.errors import InputError
from othellolens.evaluation import controls, measures
from othellolens.evaluation.bootstrap import (
    better_than_always,
    by_game,
    discoveries,
    interval,
    quantiles,
)
from othellolens.evaluation.counts import CHOOSE, SCORE, Counts, chunks, count, counted
from othellolens.evaluation.measures import MEASURES, Table
from othellolens.evaluation.ranks import rank
from othellolens.evaluation.scores import score
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.lens import Lens, Read
from othellolens.othello.boards import Boards
from othellolens.othello.games import Games, random_games


@pytest.fixture(scope="module")
def held() -> Games:
    return random_games(40, seed=1)


def columns(seed: int) -> tuple[list[bool], list[bool]]:
    generator = torch.Generator().manual_seed(seed)
    holds = torch.rand(90, generator=generator) < 0.3
    on = holds ^ (torch.rand(90, generator=generator) < 0.2)
    return on.tolist(), holds.tolist()


@pytest.mark.parametrize("name", ["f1", "lift", "mcc"])
def test_measures_equal_loops(name: str) -> None:
    for seed in range(5):
        on, holds = columns(seed)
        hits = slow.counts(on, holds)[0]
        table = Table(*(torch.tensor(x) for x in (hits, sum(on), sum(holds), len(on))))
        assert float(MEASURES[name](table)) == pytest.approx(getattr(slow, name)(on, holds))


def test_measures_of_nothing_are_zero() -> None:
    none = Table(*(torch.tensor(x) for x in (0, 0, 0, 10)))
    assert [float(measure(none)) for measure in MEASURES.values()] == [0, 0, 0, 0, 0]
    always = Table(*(torch.tensor(x) for x in (4, 10, 4, 10)))
    assert float(measures.f1(always)) == pytest.approx(float(measures.always(always)))
    assert float(measures.lift(always)) == pytest.approx(0)
    assert float(measures.mcc(always)) == 0


def test_ranks_equal_loops_with_ties(held: Games) -> None:
    generator = torch.Generator().manual_seed(2)

    def say(facts: Tensor) -> Tensor:
        blurred = facts[:, :9] + torch.randn(len(facts), 9, generator=generator)
        rough = (blurred[:, :4] * 2).round()  # many ties, above 0 and at 0
        return torch.cat([rough, blurred, torch.zeros(len(facts), 1)], 1)

    few = held[:4]
    concepts = family("mine") + family("legal")
    reads = list(Said(say).read(few))
    found = rank(Fixed(reads), few, concepts)
    at = torch.cat([r.boards.at for r in reads])
    features = torch.cat([r.features for r in reads]).relu()
    facts = torch.cat([concepts.of(r.boards) for r in reads])
    for half in (CHOOSE, SCORE):
        rows = at[:, 0] % 2 == half
        for feature in range(features.shape[1]):
            values = features[rows, feature].tolist()
            for concept in (0, 7, 27, 50, 70, 100):
                holds = facts[rows, concept].tolist()
                if not 0 < sum(holds) < len(holds):
                    assert torch.isnan(found.auroc[half, feature, concept])
                    continue
                area, precision = slow.auroc(values, holds), slow.average_precision(values, holds)
                assert float(found.auroc[half, feature, concept]) == pytest.approx(area)
                assert float(found.ap[half, feature, concept]) == pytest.approx(precision)


def test_the_oracle_is_found_exactly(held: Games) -> None:
    oracle = controls.Oracle(cells())
    peak = torch.full((128,), 1 / 1.01)  # so that 1.0 exceeds every threshold
    scores = score(count(oracle, held, cells(), peak=peak))
    for kind in ("concept", "feature", "global"):
        for measure in ("f1", "lift", "mcc", "precision", "recall"):
            assert scores.coverage(thresholds=kind, measure=measure) == pytest.approx(1)
    for match in (m for m, e in zip(scores.detectors(), scores.exists, strict=True) if e):
        assert (match.concept, match.f1) == (cells().concepts[match.feature], 1.0)
    ranks = rank(oracle, held, cells())
    found, of = ranks.above()
    assert found == of == int(ranks.exists().sum()) > 100
    assert float(ranks.best("ap")[ranks.exists()].min()) == 1.0
    assert interval(scores, by_game(oracle, held, scores, "concept")) == (1.0, 1.0, 1.0)


def test_permuted_truth_scores_at_chance() -> None:
    """An encoder that is the truth, its rows mixed: AUROC 1/2, correlation 0, lift at most 0."""
    games = random_games(300, seed=2)
    concepts = family("mine")
    permuted = controls.Permuted(controls.Oracle(concepts), "positions", seed=3)
    scores = score(count(permuted, games, concepts))
    counted_by_game = by_game(permuted, games, scores, "concept")
    correlation = interval(scores, counted_by_game, "mine", measure="mcc")
    assert correlation.low < 0 < correlation.high
    assert interval(scores, counted_by_game, "mine", measure="lift").value < 0.01
    assert int(better_than_always(counted_by_game).sum()) <= 3
    honest = controls.Oracle(concepts)
    right = score(count(honest, games, concepts))
    assert int(better_than_always(by_game(honest, games, right, "concept")).sum()) == 64
    areas = rank(permuted, games, concepts).best()
    assert float(areas.mean()) == pytest.approx(0.5, abs=0.01)
    assert rank(permuted, games, concepts).above() == (0, 64)


def test_what_the_ply_tells_is_left_when_games_change_places() -> None:
    games, phase = random_games(200, seed=4), family("empty")
    whole = count(controls.Permuted(controls.Oracle(phase), "games"), games, phase)
    mixed = count(controls.Permuted(controls.Oracle(phase), "positions"), games, phase)
    by_ply, chance = (score(c).coverage("empty", measure="mcc") for c in (whole, mixed))
    assert abs(chance) < 0.02 < 0.3 < by_ply < 0.9


def test_games_that_change_places_keep_their_plies(held: Games) -> None:
    seen = 0
    for read in controls.Permuted(controls.Oracle(cells()), "games").read(held):
        assert isinstance(read, controls.Borrowed)
        lent = read.lender.at[read.rows]
        assert torch.equal(lent[:, 1], read.boards.at[:, 1])
        assert torch.equal(lent[:, 0] % 2, read.boards.at[:, 0] % 2)
        assert bool((lent[:, 0] != read.boards.at[:, 0]).all())
        seen += len(lent)
    assert seen > 0.95 * int(held.lengths().clamp(max=59).sum())


@pytest.mark.parametrize(("number", "met"), [(4, 4), (64, 64), (65, 64), (66, 64), (67, 66)])
def test_no_game_meets_its_own_facts(number: int, met: int) -> None:
    """A game that is alone in its half of the last batch has nobody to change places with."""
    games = random_games(number, seed=5)
    pairs: set[tuple[int, int]] = set()
    for read in controls.Permuted(controls.Oracle(cells()), "games").read(games):
        assert isinstance(read, controls.Borrowed)
        lent = read.lender.at[read.rows, 0].tolist()
        pairs |= set(zip(read.boards.at[:, 0].tolist(), lent, strict=True))
    assert all(borrower != lender for borrower, lender in pairs)
    assert len({borrower for borrower, _ in pairs}) == met


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_too_few_games_to_change_places_are_refused(number: int) -> None:
    permuted = controls.Permuted(controls.Oracle(cells()), "games")
    with pytest.raises(InputError, match=f"{number} games are too few to change places .*take 4"):
        count(permuted, random_games(number, seed=5), cells(), peak=torch.ones(128))


def test_intervals_hold_the_score_and_shrink_with_games() -> None:
    generator = torch.Generator().manual_seed(1)

    def blurred(facts: Tensor) -> Tensor:
        flips = torch.rand(facts.shape, generator=generator) < 0.1
        return torch.where(flips, 1 - facts, facts)

    widths = []
    for number in (20, 320):
        games = random_games(number, seed=6)
        reads = Fixed(list(Said(blurred).read(games)))
        scores = score(count(reads, games, standard()))
        found = interval(scores, by_game(reads, games, scores, "concept"))
        assert found.low <= found.value <= found.high
        widths.append(found.high - found.low)
    assert widths[1] < 0.5 * widths[0]


def test_counts_by_game_add_up_to_the_counts(model: GPT, held: Games) -> None:
    lens = Lens(model, Site("resid_post", layer=0), Neurons())
    scores = score(count(lens, held, standard()))
    for kind in ("concept", "feature", "global"):
        found, games = scores.detector(kind), by_game(lens, held, scores, kind)
        assert torch.equal(games.both.sum(0), found.both)
        assert torch.equal(games.fires.sum(0), found.fires)
        assert torch.equal(games.holds.sum(0), found.holds)
        assert int(games.positions.sum()) == found.positions


def test_one_threshold_a_feature_is_that_of_its_best_match(model: GPT, held: Games) -> None:
    lens = Lens(model, Site("resid_post", layer=0), Neurons())
    scores = score(count(lens, held, family("legal")))
    levels = scores.match[:, 0]
    assert torch.equal(scores.per_feature.level, levels[scores.per_feature.feature])
    assert len(set(scores.single.level.tolist())) == 1
    best = [scores.coverage("legal", thresholds=kind) for kind in ("concept", "feature", "global")]
    assert best[0] > 0.9 * max(best)


def test_a_hand_made_example() -> None:
    """Five positions of two games, one feature, two concepts: every number by hand."""
    boards = Boards(
        mine=torch.tensor([1, 1, 0, 1, 2]),
        theirs=torch.tensor([0, 2, 1, 0, 0]),
        at=torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], dtype=torch.int32),
        black=torch.ones(5, dtype=torch.bool),
    )
    features = torch.tensor([[1.0], [0.4], [0.0], [0.5], [0.6]])
    concepts = family("mine")
    reads = iter([Read(boards, features, features)])
    found = counted(reads, concepts, (0.0, 0.45, 0.9), torch.tensor([1.0]))
    assert found.positions.tolist() == [3, 2]
    assert found.fires[..., 0].tolist() == [[2, 1, 1], [2, 2, 0]]
    assert found.holds[:, :2].tolist() == [[2, 0], [1, 1]]
    assert found.both[:, :, 0, 0].tolist() == [[2, 1, 1], [1, 1, 0]]
    assert found.both[:, :, 0, 1].tolist() == [[0, 0, 0], [1, 1, 0]]


def test_concepts_in_chunks_give_the_same_counts(model: GPT, held: Games) -> None:
    lens = Lens(model, Site("resid_post", layer=0), Neurons())
    whole = count(lens, held, standard())
    parts = list(chunks(standard(), len(whole.peak), memory=400_000))
    assert len(parts) > 3
    found: list[Counts] = [count(lens, held, part, memory=400_000) for part in parts]
    assert torch.equal(torch.cat([part.both for part in found], 3), whole.both)
    with pytest.raises(InputError, match=r"take 0\.0 GiB.*count fewer concepts at a time"):
        count(lens, held, standard(), memory=400_000)


def test_false_discoveries_are_held_down() -> None:
    p = torch.tensor([0.001, 0.04, 0.9, 0.012, 0.03], dtype=torch.float64)
    assert discoveries(p, 0.05).tolist() == [True, True, False, True, True]
    assert discoveries(p, 0.02).tolist() == [True, False, False, False, False]
    assert not bool(discoveries(torch.rand(100, dtype=torch.float64) + 0.1, 0.05).any())
    chance = torch.rand(400, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    false = [bool(discoveries(row, 0.05).any()) for row in chance]
    assert sum(false) / len(false) < 0.08


def test_bad_requests_are_refused(held: Games) -> None:
    oracle = controls.Oracle(cells())
    counts = count(oracle, held, cells())
    scores = score(counts)
    with pytest.raises(InputError, match=r"no measure 'accuracy': choose of .*f1"):
        score(counts, by="accuracy")
    with pytest.raises(InputError, match="thresholds ascend"):
        count(oracle, held, cells(), thresholds=(0.5, 0.1))
    with pytest.raises(InputError, match="no score 'area': choose of auroc, ap"):
        rank(oracle, held, cells()).best("area")
    with pytest.raises(InputError, match="between 0 and 1: not 95"):
        quantiles(torch.rand(10), 95.0)
    with pytest.raises(InputError, match="no concept of legal"):
        interval(scores, by_game(oracle, held, scores, "concept"), "legal")
