"""The published protocol, faults included, against a plain reading of what it does."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from othellolens.concepts import cells, family
from othellolens.errors import InputError
from othellolens.evaluation.boardgameeval import KINDS, published
from othellolens.evaluation.controls import Oracle
from othellolens.evaluation.counts import count
from othellolens.evaluation.scores import score
from othellolens.lens import Read
from othellolens.othello.games import Games, random_games

PARITY = family("mine by parity") + family("theirs by parity")
TRAIN, TEST = random_games(40, seed=11), random_games(30, seed=12)


def test_the_cap_of_two_thirds_is_in_the_published_mean() -> None:
    """An encoder that has every cell feature: 0.667 as published, 1.0 as corrected."""
    every = PARITY + cells() + family("empty") + family("legal")
    oracle = Oracle(every)
    train, test = random_games(300, seed=1), random_games(50, seed=2)
    found = published(oracle, train, test)
    assert found["board"].coverage == pytest.approx(128 / 192, abs=1e-6)
    assert found["board"].corrected == pytest.approx(1)
    assert found["board with blanks"].coverage == pytest.approx(188 / 192, abs=1e-6)
    assert found["legal moves"].coverage == pytest.approx(60 / 64, abs=1e-6)
    # Not 1: "mine by the rules" gets the label "mine by parity", too.
    assert 0.98 < found["board"].reconstruction < 1
    assert found["legal moves"].reconstruction == 1
    blank = published(Oracle(family("empty")), train, test)["board with blanks"]
    assert blank.coverage < 0.8
    ours = score(count(oracle, train, cells(), peak=torch.full((len(every),), 1 / 1.01)))
    assert ours.coverage() == 1.0
    with pytest.raises(InputError, match="436 peaks were given and the encoder has 376"):
        count(oracle, test, cells(), peak=torch.ones(436))


def test_parity_is_wrong_after_a_pass() -> None:
    """An encoder that knows who moves by the rules loses under the published labels."""
    train, test = random_games(300, seed=1), random_games(50, seed=2)
    found = published(Oracle(cells()), train, test)
    assert 0.95 < found["board"].corrected < 0.999


class Rough:
    """Blurred facts of many strengths, the same whenever they are read."""

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        for number, read in enumerate(Oracle(PARITY + family("legal")).read(games, batch=batch)):
            generator = torch.Generator().manual_seed(number + len(games))
            facts = read.features[:, ::9]
            noise = torch.rand(facts.shape, generator=generator)
            features = (facts * (0.3 + noise) + 0.4 * (noise - 0.7)).relu()
            features[:, 5] = 0  # dead
            yield Read(read.boards, read.x, features)


def rows(games: Games, families: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    reads = list(Rough().read(games))
    facts = [torch.cat([family(name).of(r.boards) for name in families], 1) for r in reads]
    return torch.cat([r.features for r in reads]), torch.cat(facts)


@pytest.mark.parametrize("kind", ["board", "legal moves"])
def test_it_equals_a_plain_reading(kind: str) -> None:
    features, facts = rows(TRAIN, KINDS[kind].families)
    firsts, _ = rows(TRAIN[:20], KINDS[kind].families)
    peak = firsts.amax(0)
    alive = [f for f in range(features.shape[1]) if peak[f] > 0]
    levels = [step / 10 for step in range(11)]
    labels: dict[tuple[int, int], set[int]] = {}
    means = []
    for t, level in enumerate(levels):
        best = [0.0] * facts.shape[1]
        for f in alive:
            on = features[:, f] > level * peak[f]
            for g in range(facts.shape[1]):
                hits, fires, holds = int((on & facts[:, g]).sum()), int(on.sum()), facts[:, g].sum()
                best[g] = max(best[g], 2 * hits / max(1, fires + int(holds)))
                if hits >= 10 and hits / fires >= 0.95:
                    labels.setdefault((t, f), set()).add(g)
        means.append(sum(best) / KINDS[kind].terms)
    found = published(Rough(), TRAIN, TEST)[kind]
    assert found.coverage == pytest.approx(max(means), abs=1e-6)
    assert found.threshold == levels[means.index(max(means))]

    features, facts = rows(TEST, KINDS[kind].families)
    scores = []
    for t in range(11):
        said = torch.zeros_like(facts)
        for f in alive:
            for row in (features[:, f] > levels[t] * peak[f]).nonzero()[:, 0].tolist():
                chosen = t
                if t == 10:
                    continue
                said[row, list(labels.get((chosen, f), set()))] = True
        scores.append(2 * int((said & facts).sum()) / max(1, int(said.sum() + facts.sum())))
    composite = torch.zeros_like(facts)
    for f in alive:
        for row in (features[:, f] > 0).nonzero()[:, 0].tolist():
            passed = [t for t in range(11) if features[row, f] > levels[t] * peak[f]]
            told = [t for t in passed if (t, f) in labels]
            composite[row, list(labels.get((max(told, default=0), f), set()))] = True
    both = 2 * int((composite & facts).sum()) / int(composite.sum() + facts.sum())
    assert found.reconstruction == pytest.approx(max(scores[:10]), abs=1e-6)
    assert found.composite == pytest.approx(both, abs=1e-6)
    assert 0.02 < found.composite < 0.98
