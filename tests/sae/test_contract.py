"""What every SAE architecture keeps, run on all of them."""

from pathlib import Path

import pytest
import torch

from othellolens.activations.rows import Rows
from othellolens.errors import InputError
from othellolens.sae.autoencoder import Recipe, SparseAutoencoder
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.dead import Silence, resample
from othellolens.sae.files import load_sae
from othellolens.sae.relu import Relu
from othellolens.sae.train import SAEPlan, SAEStep, SAETrainer

RECIPES = [Relu(width=24, l1=0.3), BatchTopK(width=24, k=3)]
every = pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)


def ready(recipe: Recipe) -> SparseAutoencoder:
    sae = recipe.build(8, seed=1)
    with torch.no_grad():
        sae.b_enc.copy_(torch.linspace(-0.2, 0.2, 24))
        sae.b_dec.copy_(torch.linspace(-1, 1, 8))
    sae.calibrate(inputs())
    return sae


def inputs(rows: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


NONE_DEAD = torch.zeros(24, dtype=torch.bool)


@every
def test_shapes_and_signs(recipe: Recipe) -> None:
    sae = ready(recipe).eval()
    features = sae.encode(inputs())
    assert features.shape == (64, 24)
    assert bool((features >= 0).all())
    assert bool((features > 0).any())
    assert sae.decode(features).shape == (64, 8)


@every
def test_doubling_the_batch_changes_nothing(recipe: Recipe) -> None:
    sae, x = ready(recipe), inputs()
    once, _ = sae.loss(x, NONE_DEAD)
    twice, _ = sae.loss(torch.cat([x, x]), NONE_DEAD)
    torch.testing.assert_close(torch.stack(once), torch.stack(twice))


@every
def test_doubling_the_batch_changes_nothing_with_dead_features(recipe: Recipe) -> None:
    sae, x = ready(recipe), inputs()
    dead = torch.arange(24) % 4 == 0
    once, _ = sae.loss(x, dead)
    twice, _ = sae.loss(torch.cat([x, x]), dead)
    torch.testing.assert_close(torch.stack(once), torch.stack(twice))


@every
def test_encoding_does_not_depend_on_the_batch(recipe: Recipe) -> None:
    sae, x = ready(recipe).eval(), inputs()
    alone = torch.cat([sae.encode(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(sae.encode(x), alone)


@every
def test_every_weight_gets_a_gradient(recipe: Recipe) -> None:
    sae = ready(recipe)
    sum(sae.loss(inputs(), NONE_DEAD)[0]).backward()
    for name, weight in sae.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.abs().sum()) > 0, name


@every
def test_folding_the_scale_keeps_the_function(recipe: Recipe) -> None:
    sae, x = ready(recipe).eval(), inputs()
    scaled = sae.encode(3.0 * x)
    back = sae.decode(scaled) / 3.0
    sae.unscale(3.0)
    torch.testing.assert_close(sae.encode(x), scaled / 3.0)
    torch.testing.assert_close(sae.decode(sae.encode(x)), back)


@every
def test_saved_and_loaded_to_the_same_bits(recipe: Recipe, tmp_path: Path) -> None:
    sae = ready(recipe).eval()
    sae.metadata = {"model_name": "mini", "hook_name": "blocks.1.hook_resid_post"}
    sae.save(tmp_path / "run")
    back = load_sae(tmp_path / "run")
    assert back.recipe == recipe
    assert back.metadata["model_name"] == "mini"
    assert torch.equal(back.encode(inputs()), sae.encode(inputs()))
    with pytest.raises(InputError, match="exists"):
        sae.save(tmp_path / "run")


@every
def test_a_foreign_or_damaged_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ready(recipe).save(run)
    weights = run / "sae_weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_sae(run)
    config = run / "cfg.json"
    text = config.read_text()
    weights.write_bytes(whole)
    config.write_text(
        text.replace('"d_sae": 24', '"d_sae": 25').replace('"width": 24', '"width": 25')
    )
    with pytest.raises(InputError, match=r"W_enc is \[8, 24\], not \[8, 25\].*b_enc"):
        load_sae(run)
    config.write_text(
        text.replace('"architecture": "standard"', '"architecture": "gated"').replace(
            '"architecture": "jumprelu"', '"architecture": "gated"'
        )
    )
    with pytest.raises(InputError, match="gated"):
        load_sae(run)


def planted(rows: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse sums of 16 known unit vectors in 12 dimensions, and those vectors."""
    dictionary = torch.randn(16, 12, generator=torch.Generator().manual_seed(9))
    dictionary /= dictionary.norm(dim=1, keepdim=True)
    on = torch.rand(rows, 16, generator=generator) < 0.08
    size = 1 + torch.rand(rows, 16, generator=generator)
    return (on * size) @ dictionary, dictionary


def train(recipe: Recipe, plan: SAEPlan) -> tuple[SparseAutoencoder, list[SAEStep], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = planted(1, generator)[1]

    def stream():  # noqa: ANN202
        while True:
            x = planted(plan.batch, generator)[0]
            yield Rows(torch.zeros(len(x), 2, dtype=torch.int32), x)

    trainer = SAETrainer(recipe, 12, plan, seed=0)
    steps = list(trainer.steps(stream()))
    return trainer.finish(), steps, truth


@pytest.mark.parametrize(
    "recipe", [Relu(width=32, l1=0.6), BatchTopK(width=32, k=2)], ids=["relu", "btk"]
)
def test_a_planted_dictionary_is_recovered(recipe: Recipe) -> None:
    sae, steps, truth = train(recipe, SAEPlan(rows=1_200_000, batch=1024, lr=3e-3))
    cosine = (sae.W_dec.detach() @ truth.T).amax(0)
    assert float(cosine.mean()) > 0.9
    assert steps[-1].fvu < 0.25 * steps[0].fvu
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))


def test_calibrated_threshold_gives_k_features_a_position() -> None:
    sae, _, _ = train(BatchTopK(width=32, k=2), SAEPlan(rows=200_000, batch=1024, lr=3e-3))
    x = planted(20_000, torch.Generator().manual_seed(77))[0]
    l0 = float((sae.encode(x) > 0).sum(1).float().mean())
    assert l0 == pytest.approx(2, rel=0.05)


def test_batch_topk_keeps_the_largest_by_hand() -> None:
    sae = BatchTopK(width=4, k=1).build(4, seed=0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(4))
        sae.W_dec.copy_(torch.eye(4))
    x = torch.tensor([[5.0, 4.0, 0.0, -9.0], [1.0, 0.0, 0.5, 0.0]])
    loss, features = sae.loss(x, torch.zeros(4, dtype=torch.bool))
    assert features.tolist() == [[5, 4, 0, 0], [0, 0, 0, 0]]
    assert loss.reconstruction.item() == pytest.approx((81 + 1.25) / 2)
    sae.calibrate(x)
    assert sae.encode(x).tolist() == [[5, 4, 0, 0], [0, 0, 0, 0]]


def test_auxk_by_hand() -> None:
    sae = BatchTopK(width=4, k=1).build(4, seed=0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(4))
        sae.W_dec.copy_(torch.eye(4))
    x = torch.tensor([[5.0, 0.0, 2.0, 0.0], [6.0, 0.0, 0.0, 0.0]])
    dead = torch.tensor([False, True, True, False])
    loss, _ = sae.loss(x, dead)
    # Left over is [[0,0,2,0],[0,0,0,0]]; the dead feature 2 rebuilds it exactly.
    assert loss.reconstruction.item() == pytest.approx(2.0)
    assert loss.revival.item() == pytest.approx(0.0)
    loss, _ = sae.loss(x, torch.tensor([False, True, False, False]))
    # The dead feature 1 sees nothing, so all of the left-over stays: error = 2, spread = 1.
    assert loss.revival.item() == pytest.approx(2.0 / 1.0 * 4 / 32)


def test_relu_loss_by_hand() -> None:
    sae = Relu(width=2, l1=0.5).build(2, seed=0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(2))
        sae.W_dec.copy_(torch.eye(2))
    x = torch.tensor([[3.0, -1.0], [1.0, 1.0]])
    loss, features = sae.loss(x, torch.zeros(2, dtype=torch.bool))
    assert features.tolist() == [[3, 0], [1, 1]]
    assert loss.reconstruction.item() == pytest.approx(0.5)
    assert loss.sparsity.item() == pytest.approx(0.5 * (3 + 2) / 2)


def test_silence_is_counted_in_rows() -> None:
    silence = Silence(3, torch.device("cpu"))
    silence.see(torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    silence.see(torch.tensor([[0.0, 0, 2], [0, 0, 0], [0, 0, 0]]))
    assert silence.rows.tolist() == [3, 5, 0]
    assert silence.longer_than(4).tolist() == [False, True, False]


def test_resampled_features_point_at_what_is_missing_and_start_fresh() -> None:
    sae = Relu(width=3, l1=0.0).build(3, seed=0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(3))
        sae.W_dec.copy_(torch.eye(3))
        sae.W_enc[:, 2] = 0
        sae.b_enc[2] = -5
    optimizer = torch.optim.Adam(sae.parameters(), lr=0.1)
    x = torch.tensor([[1.0, 1.0, 4.0], [1.0, 0.0, 0.0]])
    sum(sae.loss(x, torch.zeros(3, dtype=torch.bool))[0]).backward()
    optimizer.step()
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(3) * torch.tensor([1.0, 1.0, 0.0]))
        sae.W_dec.copy_(torch.eye(3))
        sae.b_dec.zero_()
    dead = torch.tensor([False, False, True])
    generator = torch.Generator().manual_seed(0)
    assert resample(sae, dead, x, optimizer, generator) == 1
    torch.testing.assert_close(sae.W_dec[2], torch.tensor([0.0, 0.0, 1.0]), atol=0.2, rtol=0)
    torch.testing.assert_close(sae.W_enc[:, 2], 0.2 * sae.W_dec[2])
    assert sae.b_enc[2].item() == 0
    assert float(optimizer.state[sae.W_dec]["exp_avg"][2].abs().sum()) == 0
    assert float(optimizer.state[sae.W_enc]["exp_avg"][:, 2].abs().sum()) == 0
    assert float(optimizer.state[sae.W_dec]["exp_avg"][:2].abs().sum()) > 0


def test_resampling_happens_in_training_and_leaves_fewer_dead() -> None:
    """Features born dead (a bias far below zero) come back to life only through resampling."""

    def dead_share(until: float) -> float:
        plan = SAEPlan(rows=300_000, batch=1000, lr=1e-3, dead_after=5000, resample_until=until)
        trainer = SAETrainer(Relu(width=32, l1=0.3), 12, plan, seed=0)
        with torch.no_grad():
            trainer.sae.b_enc[8:] = -1000
        generator = torch.Generator().manual_seed(0)
        batches = (planted(1000, generator)[0] for _ in range(300))
        rows = (Rows(torch.zeros(1000, 2, dtype=torch.int32), x) for x in batches)
        return list(trainer.steps(rows))[-1].dead / 32

    assert dead_share(until=0.0) == pytest.approx(24 / 32)
    assert dead_share(until=0.5) < 4 / 32


def test_auxk_revives_features_that_are_born_dead() -> None:
    def dead_share(aux: float) -> float:
        plan = SAEPlan(rows=300_000, batch=1000, lr=3e-3, dead_after=5000)
        trainer = SAETrainer(BatchTopK(width=32, k=2, aux=aux), 12, plan, seed=0)
        with torch.no_grad():
            trainer.sae.W_enc[:, 8:] *= 0.05
        generator = torch.Generator().manual_seed(0)
        batches = (planted(1000, generator)[0] for _ in range(300))
        rows = (Rows(torch.zeros(1000, 2, dtype=torch.int32), x) for x in batches)
        return list(trainer.steps(rows))[-1].dead / 32

    assert dead_share(aux=1 / 32) < dead_share(aux=0.0)


def test_k_above_the_width_is_refused() -> None:
    with pytest.raises(InputError, match="from 1 to the width, 16"):
        BatchTopK(width=16, k=17)


def test_the_learning_rate_rises_stays_and_falls() -> None:
    plan = SAEPlan(rows=1000, batch=1, lr=1.0, warmup=0.1, decay=0.2)
    rates = [plan.rate(step, 16) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == 1.0 == rates[500]
    assert rates[-1] == pytest.approx(1 / 200)
    default = SAEPlan(rows=1000, batch=1)
    assert default.rate(500, 2**14) == pytest.approx(7e-4)
