"""Sparse probes: planted features are found, few when few are enough; fits equal plain descent."""

import pytest
import torch
from reference import judged_by_loops as slow
from reference.probed_by_descent import logistic
from reference.said import Said
from torch import Tensor

from othellolens.concepts import ConceptSet, family
from othellolens.errors import InputError
from othellolens.evaluation import sparse_probing
from othellolens.evaluation.controls import Permuted
from othellolens.evaluation.sparse_probing import sparse_probes
from othellolens.othello.games import Games, random_games

MINE = family("mine")
F5 = 44


@pytest.fixture(scope="module")
def held() -> Games:
    return random_games(120, seed=1)


def planted(facts: Tensor) -> Tensor:
    """Feature 3 is "a1 mine"; 5, 6 and 7 are f5 mine in three phases; the rest is noise."""
    generator = torch.Generator().manual_seed(len(facts))
    features = torch.rand(len(facts), 12, generator=generator)
    third = (facts[:, :128].sum(1) / 21).long().clamp(max=2)
    features[:, 3] = 2 * facts[:, 0]
    for number in range(3):
        features[:, 5 + number] = facts[:, F5] * (third == number)
    return features


def test_one_feature_is_enough_where_one_says_it(held: Games) -> None:
    found = sparse_probes(Said(planted), held, MINE, sizes=(1, 2, 3))
    assert found.sizes == (1, 2, 3, 12)
    assert int(found.features[0, 0]) == 3
    assert found.f1[:, 0].tolist() == pytest.approx([1.0] * 4)
    assert found.auroc[:, 0].tolist() == pytest.approx([1.0] * 4)
    assert int(found.needed()[0]) == 1


def test_a_concept_in_three_parts_needs_three(held: Games) -> None:
    found = sparse_probes(Said(planted), held, MINE, sizes=(1, 2, 3))
    assert set(found.features[:3, F5].tolist()) == {5, 6, 7}
    f1 = found.f1[:, F5].tolist()
    assert f1[0] < f1[1] < f1[2] == pytest.approx(1.0)
    assert int(found.needed()[F5]) == 3
    assert float(found.loss[2, F5]) < 0.02 < float(found.loss[0, F5])


def test_noise_tells_nothing(held: Games) -> None:
    found = sparse_probes(Permuted(Said(planted)), held, MINE, sizes=(1, 4))
    areas = found.auroc[:, found.exists]
    assert float(areas.mean()) == pytest.approx(0.5, abs=0.02)
    assert float((areas - 0.5).abs().max()) < 0.12


def test_fits_equal_plain_descent() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=generator)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    y = x @ torch.tensor([[1.0, 0.0], [-2.0, 0.5], [0.3, 0.0]]) + 0.4
    y = torch.rand(400, 2, generator=generator) < y.sigmoid()
    chosen = torch.tensor([[0, 1], [1, 2]])
    few, _ = sparse_probing._few(x, y, x, chosen)
    every, _ = sparse_probing._all(x, y, x)
    for concept in range(2):
        some = x[:, chosen[:, concept]]
        for found, inputs in ((few, some), (every, x)):
            weights, intercept = logistic(inputs, y[:, concept], 1e-4)
            expected = (inputs.double() @ weights + intercept).float()
            torch.testing.assert_close(found[:, concept], expected, atol=2e-2, rtol=2e-2)


def test_scores_equal_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    z, y = torch.randn(120, 2, generator=generator).mul(3).round(), None
    y = torch.rand(120, 2, generator=generator) < (z / 2).sigmoid()
    f1, accuracy, auroc, _ = sparse_probing._scores(z, z, y, y)
    for concept in range(2):
        values, holds = z[:, concept].tolist(), y[:, concept].tolist()
        bars = sorted(set(values))
        options = [slow.f1([v >= bar for v in values], holds) for bar in bars]
        assert float(f1[concept]) == pytest.approx(max(options))
        assert float(auroc[concept]) == pytest.approx(slow.auroc(values, holds))
        bar = bars[options.index(max(options))]
        right = [(v >= bar) == h for v, h in zip(values, holds, strict=True)]
        assert float(accuracy[concept]) == pytest.approx(sum(right) / 120)


def test_means_and_bad_requests(held: Games) -> None:
    found = sparse_probes(Said(planted), held, MINE + family("legal"), sizes=(1,), rows=900)
    assert found.mean("mine").shape == (2,)
    where = found.exists[:64]
    torch.testing.assert_close(found.mean("mine")[0], found.f1[0, :64][where].mean())
    with pytest.raises(InputError, match="no concept of empty was probed"):
        found.mean("empty")
    with pytest.raises(InputError, match="ascend from 1"):
        sparse_probes(Said(planted), held, MINE, sizes=(4, 2))
    with pytest.raises(InputError, match="no games"):
        sparse_probes(Said(planted), held[:0], ConceptSet(MINE.concepts[:1]))
