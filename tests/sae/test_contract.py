"""What every SAE architecture keeps, run on all of them, as SAEs and as transcoders."""

from pathlib import Path

import pytest
import torch
from reference.recipes import RECIPES, WIDTH

from othellolens.errors import InputError
from othellolens.sae.autoencoder import Recipe, SparseAutoencoder
from othellolens.sae.files import load_sae
from othellolens.sae.stack import member, stacked

every = pytest.mark.parametrize("name", RECIPES)
NONE_DEAD = torch.zeros(WIDTH, dtype=torch.bool)
SOME_DEAD = torch.arange(WIDTH) % 4 == 0
KINDS = {"sae": {}, "transcoder": {"d_out": 6}, "skip": {"d_out": 6, "skip": True}}
kinds = pytest.mark.parametrize("kind", KINDS)


def built(name: str, kind: str = "sae", seed: int = 1) -> SparseAutoencoder:
    if kind != "sae" and name == "relu-tied":
        pytest.skip("a transcoder cannot be tied")
    sae = RECIPES[name].build(8, seed=seed, **KINDS[kind])
    with torch.no_grad():
        for offset in sae.offsets:
            getattr(sae, offset).copy_(torch.linspace(0.0, 0.2, WIDTH))
        sae.b_dec.copy_(torch.linspace(-1, 1, len(sae.b_dec)))
        if sae.W_skip is not None:
            sae.W_skip.copy_(torch.linspace(-0.5, 0.5, 48).reshape(6, 8))
    return sae


def inputs(rows: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def targets(sae: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    return x if not sae.transcodes else torch.tanh(x[:, :6])


def ready(name: str, kind: str = "sae") -> SparseAutoencoder:
    sae = built(name, kind)
    sae.calibrate(inputs(4096, seed=5))
    return sae.eval()


@kinds
@every
def test_shapes_and_signs(name: str, kind: str) -> None:
    sae = ready(name, kind)
    features = sae.encode(inputs())
    assert features.shape == (64, WIDTH)
    assert bool((features >= 0).all())
    assert bool((features > 0).any())
    assert sae.reconstruct(inputs()).shape == (64, 8 if kind == "sae" else 6)


@kinds
@every
def test_doubling_the_batch_changes_nothing(name: str, kind: str) -> None:
    sae, x = built(name, kind), inputs()
    y = targets(sae, x)
    for dead in (NONE_DEAD, SOME_DEAD):
        once, _ = sae.loss(x, y, dead)
        twice, _ = sae.loss(torch.cat([x, x]), torch.cat([y, y]), dead)
        torch.testing.assert_close(torch.stack(once), torch.stack(twice))


@kinds
@every
def test_encoding_does_not_depend_on_the_batch(name: str, kind: str) -> None:
    sae, x = ready(name, kind), inputs()
    alone = torch.cat([sae.encode(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(sae.encode(x), alone)


@kinds
@every
def test_every_weight_gets_a_gradient(name: str, kind: str) -> None:
    sae, x = built(name, kind), inputs()
    sae.loss(x, targets(sae, x), NONE_DEAD)[0].total().backward()
    learned = {key: w for key, w in sae.named_parameters() if w.requires_grad}
    for key, weight in learned.items():
        assert weight.grad is not None, key
        assert float(weight.grad.abs().sum()) > 0, key


@every
def test_the_target_is_met_on_fresh_rows(name: str) -> None:
    sae = ready(name)
    wanted = RECIPES[name].sparsity_target
    assert wanted == 3
    number = (sae.encode(inputs(20_000, seed=6)) > 0).sum(1).float().mean()
    assert float(number) == pytest.approx(wanted, rel=0.05)


@kinds
@every
def test_folding_the_scales_keeps_the_function(name: str, kind: str) -> None:
    sae, x = ready(name, kind), inputs()
    scale_out = 3.0 if kind == "sae" else 0.25
    features, back = sae.encode(3.0 * x), sae.reconstruct(3.0 * x) / scale_out
    sae.unscale(3.0, None if kind == "sae" else scale_out)
    torch.testing.assert_close(sae.encode(x), features / scale_out)
    torch.testing.assert_close(sae.reconstruct(x), back)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(WIDTH))


@kinds
@every
def test_saved_and_loaded_to_the_same_bits(name: str, kind: str, tmp_path: Path) -> None:
    sae = ready(name, kind)
    sae.metadata = {"model_name": "mini", "hook_name": "blocks.1.hook_resid_post"}
    sae.save(tmp_path / "run")
    back = load_sae(tmp_path / "run")
    assert back.recipe == sae.recipe
    assert type(back) is type(sae)
    assert back.metadata["model_name"] == "mini"
    assert torch.equal(back.encode(inputs()), sae.encode(inputs()))
    assert torch.equal(back.reconstruct(inputs()), sae.reconstruct(inputs()))
    with pytest.raises(InputError, match="exists"):
        sae.save(tmp_path / "run")


@kinds
@every
def test_a_stack_is_its_members(name: str, kind: str) -> None:
    """The same losses, gradients and features as each of them alone, and they come out again."""
    saes, x = [built(name, kind, seed=seed) for seed in (1, 2, 3)], inputs()
    y = targets(saes[0], x)
    whole = stacked(saes)
    loss, features = whole.loss(x, y, torch.stack([NONE_DEAD, SOME_DEAD, NONE_DEAD]))
    loss.total().sum().backward()
    for number, (sae, dead) in enumerate(zip(saes, (NONE_DEAD, SOME_DEAD, NONE_DEAD), strict=True)):
        alone, seen = sae.loss(x, y, dead)
        alone.total().backward()
        torch.testing.assert_close(torch.stack(loss)[:, number], torch.stack(alone))
        torch.testing.assert_close(features[number], seen)
        of_whole = dict(whole.named_parameters())
        for key, weight in sae.named_parameters():
            if weight.grad is not None:
                torch.testing.assert_close(of_whole[key].grad[number], weight.grad, msg=key)
        out = member(whole, number).eval()
        assert torch.equal(out.encode(x), sae.eval().encode(x))
        assert out.recipe == sae.recipe


@every
def test_a_damaged_folder_is_refused(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ready(name).save(run)
    weights, config = run / "sae_weights.safetensors", run / "cfg.json"
    whole, text = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_sae(run)
    weights.write_bytes(whole)
    config.write_text(text.replace(f'"d_in": {8}', '"d_in": 9'))
    with pytest.raises(InputError, match=r"W_enc is \[8, 24\], not \[9, 24\].*b_dec"):
        load_sae(run)
    config.write_text(text.replace('"architecture": "', '"architecture": "strange-'))
    config.write_text(config.read_text().replace('"training_architecture": "', '"was": "'))
    with pytest.raises(InputError, match="architecture 'strange-.* is not read"):
        load_sae(run)


@every
def test_numbers_that_are_not_finite_are_refused(name: str, tmp_path: Path) -> None:
    sae = ready(name)
    with torch.no_grad():
        sae.W_dec[3, 2] = float("nan")
    sae.save(tmp_path / "run")
    with pytest.raises(InputError, match="finite numbers in W_dec"):
        load_sae(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "at least one feature"),
        ({"k": 25}, "from 1 to the width, 24"),
        ({"k": 0}, "from 1 to the width"),
        ({"l0": 25}, "at most the width, 24"),
        ({"l0": 0}, "above 0"),
        ({"penalty": -1.0}, "penalty is -1: it must not be negative"),
        ({"penalty": float("inf")}, "penalty is inf"),
        ({"penalty": float("nan")}, "penalty is nan"),
        ({"aux": -1.0}, "aux is -1: it must not be negative"),
        ({"aux": float("nan")}, "aux is nan"),
        ({"push": -1.0}, "push not below"),
        ({"threshold": float("inf")}, "none without end"),
        ({"p_end": 0.0}, "above 0 and at most 1"),
        ({"anneal_from": 1.0}, "below 1"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0"),
        ({"levels": (0.5, 0.25, 1.0)}, "must rise to 1"),
        ({"levels": (0.5, 0.75)}, "must rise to 1"),
        ({"levels": (float("nan"), 1.0)}, "levels are nan, 1: they must rise to 1"),
        ({"levels": (float("inf"), 1.0)}, "levels are inf, 1: they must rise to 1"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    tried = 0
    for recipe in RECIPES.values():
        if set(change) <= set(recipe.__dataclass_fields__):
            tried += 1
            with pytest.raises(InputError, match=message):
                type(recipe)(**{**vars(recipe), **change})
    assert tried


def test_a_whole_number_is_asked_of_topk_only() -> None:
    with pytest.raises(InputError, match="whole number"):
        RECIPES["topk"].with_target(2.5)
    assert RECIPES["batch-topk"].with_target(2.5).sparsity_target == 2.5


def test_a_skip_needs_a_target(name: str = "relu") -> None:
    with pytest.raises(InputError, match="target site"):
        RECIPES[name].build(8, skip=True)
    with pytest.raises(InputError, match="cannot be tied"):
        RECIPES["relu-tied"].build(8, d_out=6)


@every
def test_another_target_changes_nothing_else(name: str) -> None:
    recipe = RECIPES[name]
    other: Recipe = recipe.with_target(5)
    assert other.sparsity_target == 5
    assert other.static() == recipe.static()
    assert other.with_target(3) == recipe
