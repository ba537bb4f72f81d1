"""Data made from a known sparse dictionary, and SAEs trained on it.

The library is imported inside the functions, as in every file beside the tests.
"""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from othellolens.sae.autoencoder import Recipe, SparseAutoencoder
    from othellolens.sae.plan import SAEPlan, SAEStep
    from othellolens.sae.train import SAETrainer

TRUE, D_IN, WIDTH, ON = 16, 12, 32, 0.09
"""True vectors, their length, features of the SAEs, and how often each true vector is there."""
NO_PLACE = torch.zeros(1, 2, dtype=torch.int32)


def dictionary() -> torch.Tensor:
    """The vectors that are to be found, [TRUE, D_IN], of norm 1."""
    rows = torch.randn(TRUE, D_IN, generator=torch.Generator().manual_seed(9))
    return rows / rows.norm(dim=1, keepdim=True)


def planted(rows: int, generator: torch.Generator) -> torch.Tensor:
    """Sparse sums of the dictionary: each vector with chance ON, 1 to 2 times itself."""
    on = torch.rand(rows, TRUE, generator=generator) < ON
    return (on * (1 + torch.rand(rows, TRUE, generator=generator))) @ dictionary()


def learn(
    recipe: "Recipe", plan: "SAEPlan", *, seed: int = 0, prepare: Any = None, **shape: Any
) -> "tuple[SAETrainer, list[SAEStep]]":
    """Train on planted rows to the end of the plan."""
    from othellolens.sae.train import SAETrainer

    trainer = SAETrainer(recipe, D_IN, plan, seed=seed, **shape)
    if prepare is not None:
        prepare(trainer)
    generator = torch.Generator().manual_seed(seed)
    at = NO_PLACE.expand(plan.batch, 2)
    steps = [trainer.update(at, planted(plan.batch, generator))[0] for _ in range(plan.steps)]
    return trainer, steps


def finished(trainer: "SAETrainer") -> "SparseAutoencoder":
    """The one SAE of a trainer, calibrated on fresh rows."""
    return trainer.finish(planted(20_000, torch.Generator().manual_seed(76)))[0]


def recovery(sae: "SparseAutoencoder") -> float:
    """Mean over the true vectors of the largest cosine with a decoder row."""
    return float((sae.W_dec.detach() @ dictionary().T).amax(0).mean())


def l0(sae: "SparseAutoencoder") -> float:
    """Mean number of active features on rows that nobody has seen."""
    x = planted(20_000, torch.Generator().manual_seed(77))
    with torch.no_grad():
        return float((sae.encode(x) > 0).sum(1).float().mean())
