"""The sparse products against their plain twin: the same selection, values and gradients."""

from collections.abc import Iterator

import pytest
import torch
from reference import recipes
from reference.planted import NO_PLACE

from othellolens.sae import products, selection, train
from othellolens.sae.autoencoder import Recipe, SparseAutoencoder
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.p_anneal import PAnneal
from othellolens.sae.plan import SAEPlan, SAEStep
from othellolens.sae.relu import Relu
from othellolens.sae.topk import TopK
from othellolens.sae.train import SAETrainer

WIDTH, D_IN, ROWS = 256, 24, 700
RECIPES = {
    "topk": TopK(WIDTH, k=9),
    "batch-topk": BatchTopK(WIDTH, k=9),
    "batch-topk, half": BatchTopK(WIDTH, k=2.5),
    "topk, one": TopK(WIDTH, k=1),
    "relu": Relu(WIDTH, penalty=0.7),
    "relu, tied": Relu(WIDTH, penalty=0.7, tied=True),
    "p-anneal": PAnneal(WIDTH, penalty=0.7, anneal_from=0.0),
}
_NINE_ON = 2.6
# What features see less of it is above 0 for about nine of them.
KINDS = {"sae": {}, "transcoder": {"d_out": 10}, "skip": {"d_out": 10, "skip": True}}


def built(name: str, kind: str) -> SparseAutoencoder:
    sae = RECIPES[name].build(D_IN, seed=1, **KINDS[kind]).train()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in sae.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        if sae.thins:
            sae.b_enc.sub_(_NINE_ON)  # pyright: ignore
    sae.progress = 0.5
    return sae


def inputs() -> torch.Tensor:
    x = torch.randn(ROWS, D_IN, generator=torch.Generator().manual_seed(0)) + 0.5
    x[3] = -100 * x[3]
    x[7] = 0
    return x


def outcome(name: str, kind: str, least: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Losses, features and gradients, with dead features."""
    for least_of in ("_LEAST", "_MANY"):
        monkeypatch.setattr(products, least_of, least)
    sae, x = built(name, kind), inputs()
    y = x if kind == "sae" else torch.tanh(x[:, :10])
    loss, features = sae.loss(x, y, torch.arange(WIDTH) % 5 == 0)
    assert (features.layout == torch.sparse_csr) == (least == 0), "the path that is meant"
    loss.total().backward()
    yield torch.stack(loss).detach()
    yield features.detach().to_dense() if least == 0 else features.detach()
    yield products.fired(features)
    for key, weight in sae.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, key
        if weight.grad is not None:
            yield weight.grad


@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n in RECIPES for k in KINDS if k == "sae" or n != "relu, tied"],
)
def test_sparse_products_equal_plain_ones(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = list(outcome(name, kind, 1 << 60, monkeypatch))
    found = list(outcome(name, kind, 0, monkeypatch))
    assert torch.equal(plain[1], found[1]), "the same entries stay, to the bit"
    assert torch.equal(plain[2], found[2])
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_what_is_selected_is_what_sorting_selects() -> None:
    """Ties, rows with few or no positive entries, and parts of very different size."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(1200, 64, generator=generator)
    z[:300] = (z[:300] * 2).round() / 2
    z[300:400] -= 3
    z[400:410] = -1
    z[500:510] *= 1e6
    z[510] *= 1e-30
    parts = [part.contiguous() for part in z.split(512)]
    for k in (1, 5, 63):
        starts, columns, values = products._top(parts, k)
        for row in range(len(z)):
            mine = slice(int(starts[row]), int(starts[row + 1]))
            kept = values[mine].sort().values
            wanted = z[row].relu().sort().values[-k:]
            assert torch.equal(kept, wanted[wanted > 0]), (k, row)
            assert torch.equal(z[row, columns[mine].long()], values[mine])
            assert len(columns[mine].unique()) == len(columns[mine])
    for number in (1, 700, 20_000, 70_000):
        starts, columns, values = products._largest(parts, number)
        order = z.flatten().sort(descending=True).values
        limit = order[number].clamp(min=0)
        assert torch.equal(values.sort().values, z[z > limit].sort().values), number
        rows = torch.arange(len(z)).repeat_interleave(starts.diff())
        assert torch.equal(z[rows, columns.long()], values)


def test_the_limit_is_the_entry_at_its_rank() -> None:
    """Of any data: with ties, half of it 0 or minus infinity, negative, tiny, huge."""
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(600, 40, generator=generator)
    hole = torch.rand(z.shape, generator=generator) < 0.5
    kinds = {
        "all": z,
        "half 0": z.relu(),
        "few": (z - 1.5).relu(),
        "ties": (z * 4).round(),
        "negative": -z.abs() - 1,
        "no end": z.masked_fill(hole, float("-inf")),
        "sizes": z * 10.0 ** torch.randint(-30, 30, z.shape, generator=generator),
        "one": torch.full_like(z, 0.25),
    }
    for name, x in kinds.items():
        order = x.flatten().sort(descending=True).values
        for number in (0, 1, 37, 600, 1199, 12_000, 23_999):
            assert torch.equal(selection._ranked(x, number), order[number]), (name, number)
            limit = selection.largest_dropped(x, number)
            assert torch.equal(limit, order[number].clamp(min=0)), (name, number)
        assert selection._ranked(x, x.numel()) <= x.min(), name


def curve(recipe: Recipe, precision: str) -> list[SAEStep]:
    plan = SAEPlan(rows=300 * 60, batch=300, lr=3e-3, dead_after=3000, precision=precision)
    trainer = SAETrainer(recipe, D_IN, plan)
    truth = torch.randn(80, D_IN, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(6)
    steps: list[SAEStep] = []
    for _ in range(plan.steps):
        on = torch.rand(300, 80, generator=generator) < 0.05
        steps += trainer.update(NO_PLACE.expand(300, 2), on.float() @ truth)
    return steps


@pytest.mark.parametrize("name", ["topk", "batch-topk"])
def test_the_curves_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_LEAST", 1 << 60)
    plain = curve(RECIPES[name], "fp32")
    monkeypatch.setattr(products, "_LEAST", 0)
    found, rounded = curve(RECIPES[name], "fp32"), curve(RECIPES[name], "bf16")
    assert plain[-1].fvu < 0.6 * plain[0].fvu
    for one, other, third in zip(plain, found, rounded, strict=True):
        assert other.fvu == pytest.approx(one.fvu, rel=1e-3)
        assert other.l0 == pytest.approx(one.l0, rel=1e-3)
        assert third.fvu == pytest.approx(one.fvu, rel=5e-2)


def test_no_result_depends_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(products, "_LEAST", 0)
    found: list[list[object]] = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(list(outcome("batch-topk", "sae", 0, monkeypatch)))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "name", ["relu", "relu-tied", "prolu", "gated", "jumprelu", "jumprelu-tanh"]
)
def test_a_batch_in_parts_is_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(part: int) -> tuple[list[SAEStep], SparseAutoencoder]:
        monkeypatch.setattr(train, "_PART_BYTES", part)
        trainer = SAETrainer(recipes.RECIPES[name], 8, SAEPlan(rows=300 * 20, batch=300, lr=3e-3))
        generator = torch.Generator().manual_seed(6)
        told = [
            trainer.update(NO_PLACE.expand(300, 2), torch.randn(300, 8, generator=generator))[0]
            for _ in range(20)
        ]
        return told, trainer.sae

    (whole, one), (parts, other) = steps(1 << 30), steps(100)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.W_enc, other.W_enc, rtol=1e-3, atol=1e-3)


def test_what_is_not_separable_is_never_cut() -> None:
    for name in ("batch-topk", "jumprelu-target", "p-anneal", "matryoshka"):
        trainer = SAETrainer(recipes.RECIPES[name], 8, SAEPlan(rows=1 << 20, batch=1 << 19))
        assert trainer._parts(torch.zeros(1 << 19, 8)) == [slice(0, 1 << 19)]


def test_relu_is_not_cut_once_few_of_its_features_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_MANY", 0)
    monkeypatch.setattr(train, "_PART_BYTES", 1 << 16)
    trainer = SAETrainer(Relu(WIDTH), D_IN, SAEPlan(rows=ROWS, batch=ROWS))
    trainer.sae.train()
    assert len(trainer._parts(inputs())) > 1
    with torch.no_grad():
        trainer.sae.b_enc.sub_(_NINE_ON)  # pyright: ignore
    assert trainer._parts(inputs()) == [slice(0, ROWS)]
    trainer.sae.eval()
    assert not products.few_on(trainer.sae, inputs()), "what is not trained is encoded as a whole"


@pytest.mark.parametrize("recipe", [Relu(WIDTH, penalty=10.0), PAnneal(WIDTH, penalty=10.0)])
def test_the_curves_of_relus_agree(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """From dense at the beginning to sparse, where the penalty has begun its work."""
    monkeypatch.setattr(products, "_SPARSE", 3)
    monkeypatch.setattr(products, "_MANY", 1 << 60)
    plain = curve(recipe, "fp32")
    monkeypatch.setattr(products, "_MANY", 0)
    used: list[bool] = []
    few_on = products.few_on
    monkeypatch.setattr(products, "few_on", lambda *of: used.append(few_on(*of)) or used[-1])
    found = curve(recipe, "fp32")
    assert not used[0]
    assert used[-1]
    for one, other in zip(plain, found, strict=True):
        assert other.fvu == pytest.approx(one.fvu, rel=2e-2)
        assert other.l0 == pytest.approx(one.l0, rel=2e-2)
