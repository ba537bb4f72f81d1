"""Planted truth: every architecture finds the vectors that its data was made of.

And what keeps it honest: the same test fails when the sparsity term, the gradient of AuxK or the
projection of the decoder is broken.
"""

import pytest
import torch
from reference.planted import (
    NO_PLACE,
    ON,
    TRUE,
    WIDTH,
    finished,
    l0,
    learn,
    planted,
    recovery,
)

from othellolens.sae import aux_k
from othellolens.sae.autoencoder import Recipe, SparseAutoencoder
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.gated import Gated
from othellolens.sae.gated_p_anneal import GatedPAnneal
from othellolens.sae.jump_relu import JumpRelu
from othellolens.sae.matryoshka import Matryoshka
from othellolens.sae.p_anneal import PAnneal
from othellolens.sae.plan import SAEPlan
from othellolens.sae.prolu import ProLU
from othellolens.sae.relu import Relu
from othellolens.sae.topk import TopK
from othellolens.sae.train import SAETrainer

K = ON * TRUE
PLAN = SAEPlan(rows=800_000, batch=1024, lr=3e-3)
FINDERS: dict[str, Recipe] = {
    "relu": Relu(WIDTH, l0=2),
    "relu-tied": Relu(WIDTH, l0=2.5, tied=True),
    "p-anneal": PAnneal(WIDTH, l0=K),
    "prolu": ProLU(WIDTH, l0=K),
    "prolu-ste": ProLU(WIDTH, l0=K, slope="ste"),
    "gated": Gated(WIDTH, l0=K),
    "gated-p-anneal": GatedPAnneal(WIDTH, l0=K),
    "topk": TopK(WIDTH, k=2),
    "batch-topk": BatchTopK(WIDTH, k=K),
    "matryoshka": Matryoshka(WIDTH, k=K, levels=(0.5, 1.0)),
    "jumprelu": JumpRelu(WIDTH, l0=K, form="step"),
    "jumprelu-tanh": JumpRelu(WIDTH, l0=K, form="tanh"),
    "jumprelu-target": JumpRelu(WIDTH, l0=K, form="target"),
}


def found(recipe: Recipe) -> SparseAutoencoder:
    return finished(learn(recipe, PLAN)[0])


@pytest.mark.parametrize("name", FINDERS)
def test_a_planted_dictionary_is_recovered(name: str) -> None:
    recipe = FINDERS[name]
    trainer, steps = learn(recipe, PLAN)
    torch.testing.assert_close(trainer.sae.W_dec.norm(dim=1), torch.ones(WIDTH))
    sae = finished(trainer)
    assert recovery(sae) > 0.9
    assert l0(sae) == pytest.approx(recipe.sparsity_target, rel=0.05)
    assert steps[-1].fvu < 0.7 * steps[0].fvu
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(WIDTH))


def test_the_decoder_has_unit_norm_after_every_step_and_momentum_none_along_it() -> None:
    plan = SAEPlan(rows=20_000, batch=1000, lr=1e-2)

    def watch(trainer: SAETrainer) -> None:
        update = trainer.update

        def checked(*batch: torch.Tensor) -> object:
            told = update(*batch)
            rows = trainer.sae.W_dec.detach()
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(WIDTH))
            momentum = trainer.optimizer.state[trainer.sae.W_dec]["exp_avg"]
            assert float(momentum.norm()) > 0
            along = (momentum * rows).sum(1).abs()
            assert bool((along <= 1e-5 * momentum.norm(dim=1)).all())
            return told

        trainer.update = checked  # pyright: ignore

    for recipe in FINDERS.values():
        learn(recipe, plan, prepare=watch)


def test_without_its_sparsity_term_relu_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SparseAutoencoder, "weight", lambda sae: torch.zeros(()))
    assert recovery(found(Relu(WIDTH))) < 0.9


def test_without_the_projection_the_norms_run_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The L1 penalty then shrinks features and grows decoder rows instead of choosing."""
    monkeypatch.setattr(SparseAutoencoder, "normalize_decoder", lambda sae: None)
    monkeypatch.setattr(SparseAutoencoder, "remove_parallel_gradient", lambda sae: None)
    trainer, _ = learn(FINDERS["relu"], PLAN)
    assert float((trainer.sae.W_dec.detach().norm(dim=1) - 1).abs().max()) > 0.1


def born_dead(trainer: SAETrainer) -> None:
    """All features but eight begin below zero for every input, and never fire by themselves."""
    with torch.no_grad():
        trainer.sae.W_enc[:, 8:] *= 0.05
        trainer.sae.b_enc[8:] = -0.8


def dead_at_the_end(recipe: Recipe, plan: SAEPlan) -> float:
    return learn(recipe, plan, prepare=born_dead)[1][-1].dead / WIDTH


def test_auxk_brings_the_dead_back_and_only_with_its_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = SAEPlan(rows=400_000, batch=1000, lr=3e-3, dead_after=5000)
    assert dead_at_the_end(TopK(WIDTH, k=2), plan) < 0.4
    assert dead_at_the_end(TopK(WIDTH, k=2, aux=0.0), plan) > 0.6
    whole = aux_k.encoded
    monkeypatch.setattr(aux_k, "encoded", lambda *weights: whole(*weights).detach())
    assert dead_at_the_end(TopK(WIDTH, k=2), plan) > 0.6


def test_resampling_brings_the_dead_back() -> None:
    plan = SAEPlan(rows=300_000, batch=1000, lr=1e-3, dead_after=5000, resample_until=0.0)
    assert dead_at_the_end(Relu(WIDTH, penalty=0.3), plan) == pytest.approx(24 / 32)
    again = SAEPlan(rows=300_000, batch=1000, lr=1e-3, dead_after=5000, resample_until=0.5)
    assert dead_at_the_end(Relu(WIDTH, penalty=0.3), again) < 4 / 32


def test_jumprelu_lifts_its_dead() -> None:
    plan = SAEPlan(rows=300_000, batch=1000, lr=3e-3, dead_after=5000)
    assert dead_at_the_end(JumpRelu(WIDTH, l0=K, push=0.0), plan) > 0.6
    assert dead_at_the_end(JumpRelu(WIDTH, l0=K, push=0.1), plan) < 0.3


@pytest.mark.parametrize("name", [name for name in FINDERS if "tied" not in name])
def test_a_transcoder_learns_a_map(name: str) -> None:
    """It rebuilds what another dictionary makes of the same planted facts."""
    plan = SAEPlan(rows=500_000, batch=1000, lr=3e-3)
    turn = torch.randn(12, 7, generator=torch.Generator().manual_seed(3)) / 3
    trainer = SAETrainer(FINDERS[name], 12, plan, d_out=7)
    generator = torch.Generator().manual_seed(0)
    for _ in range(plan.steps):
        x = planted(plan.batch, generator)
        trainer.update(NO_PLACE.expand(plan.batch, 2), x, x @ turn)
    sae = finished(trainer)
    x = planted(5000, torch.Generator().manual_seed(8))
    y = x @ turn
    with torch.no_grad():
        error = (sae.reconstruct(x) - y).pow(2).sum() / (y - y.mean(0)).pow(2).sum()
    assert float(error) < 0.7
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(WIDTH))
