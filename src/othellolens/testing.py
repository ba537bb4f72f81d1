"""For authors of encoders: does mine keep the contract that the judge and the loop rely on?

from othellolens.testing import check_encoder

def test_my_encoder() -> None:
    check_encoder(MyEncoder())        # anything that turns vectors into features
    check_encoder(MyRecipe(width=64)) # an SAE architecture: what it builds is trained, too
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .encoder import Autoencoder, Encoder
from .sae.autoencoder import Recipe, SparseAutoencoder
from .sae.files import load_sae
from .sae.plan import SAEPlan
from .sae.stack import member, stacked
from .sae.train import SAETrainer

D_IN = 16
"""Length of the vectors that a recipe is tried on."""
_ROWS = 256


class ContractError(AssertionError):
    """What an encoder does not keep, one line a fault."""


class Check(NamedTuple):
    """One clause of the contract."""

    clause: str
    test: Callable[[], str | None]
    """Says what is wrong, or nothing."""


def check_encoder(
    encoder: Encoder | Recipe, x: Float[Tensor, "position d_in"] | None = None
) -> list[str]:
    """Hold an encoder, or a recipe and what it builds, against the contract.

    Args:
        encoder: what to check. Of a recipe, three SAEs are built and trained for a few steps.
        x: vectors such as it is made for, a few hundred; by default normal ones.

    Returns:
        The clauses that were checked.

    Raises:
        ContractError: what is not kept, all faults listed.
    """
    clauses = list(_clauses(encoder, x))
    faults = [fault for clause in clauses if (fault := _fault(clause))]
    if faults:
        raise ContractError("\n".join(faults))
    return [clause.clause for clause in clauses]


def _fault(check: Check) -> str | None:
    try:
        wrong = check.test()
    except Exception as error:
        wrong = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return f"{check.clause}: {wrong}" if wrong else None


def _clauses(encoder: Encoder | Recipe, x: Tensor | None) -> Iterator[Check]:
    if isinstance(encoder, Recipe):
        rows = _normal(D_IN if x is None else x.shape[1]) if x is None else x
        yield from _of_recipe(encoder, rows)
        encoder = _calibrated(encoder, rows)
        yield from _of_sae(encoder, rows)
        x = rows
    x = _normal(encoder.d_in or D_IN) if x is None else x
    yield from _of_encoder(encoder.eval(), x)
    if isinstance(encoder, Autoencoder):
        yield from _of_autoencoder(encoder, x)


def _normal(d_in: int) -> Tensor:
    return torch.randn(_ROWS, d_in, generator=torch.Generator().manual_seed(0))


def _calibrated(recipe: Recipe, x: Tensor) -> SparseAutoencoder:
    sae = recipe.build(x.shape[1], seed=0)
    sae.calibrate(x)
    return sae.eval()


# Any encoder


@torch.no_grad()
def _encode(encoder: Encoder, x: Tensor) -> Tensor:
    return encoder.encode(x.clone())


def _of_encoder(encoder: Encoder, x: Tensor) -> Iterator[Check]:
    yield Check("encode gives [position, feature], finite floats", lambda: _shape(encoder, x))
    yield Check("encode does not depend on the rest of the batch", lambda: _alone(encoder, x))
    yield Check("encode gives the same twice", lambda: _twice(encoder, x))
    yield Check("encode leaves what it reads as it was", lambda: _untouched(encoder, x))
    yield Check("feature_names gives a name a feature, or None", lambda: _names(encoder, x))


def _shape(encoder: Encoder, x: Tensor) -> str | None:
    features = _encode(encoder, x)
    if features.dim() != 2 or len(features) != len(x):
        return f"{list(features.shape)} for {len(x)} vectors"
    if not features.is_floating_point() or not bool(torch.isfinite(features).all()):
        return f"{features.dtype}, all finite: {bool(torch.isfinite(features.float()).all())}"
    return None


def _alone(encoder: Encoder, x: Tensor) -> str | None:
    whole = _encode(encoder, x)
    alone = torch.cat([_encode(encoder, x[i : i + 1]) for i in range(min(64, len(x)))])
    return _differs(alone, whole[: len(alone)], "rows alone and together")


def _twice(encoder: Encoder, x: Tensor) -> str | None:
    first, again = _encode(encoder, x), _encode(encoder, x)
    return None if torch.equal(first, again) else "two calls differ: no randomness, no state"


@torch.no_grad()
def _untouched(encoder: Encoder, x: Tensor) -> str | None:
    given = x.clone()
    encoder.encode(given)
    return None if torch.equal(given, x) else "x was written to"


def _names(encoder: Encoder, x: Tensor) -> str | None:
    names, width = encoder.feature_names(), _encode(encoder, x[:1]).shape[1]
    if names is None or len(names) == width:
        return None
    return f"{len(names)} names for {width} features"


def _of_autoencoder(encoder: Autoencoder, x: Tensor) -> Iterator[Check]:
    yield Check("decode gives one finite vector a position", lambda: _decodes(encoder, x))


@torch.no_grad()
def _decodes(encoder: Autoencoder, x: Tensor) -> str | None:
    out = encoder.reconstruct(x)
    transcodes = isinstance(encoder, SparseAutoencoder) and encoder.transcodes
    if len(out) != len(x) or (out.shape != x.shape and not transcodes):
        return f"{list(out.shape)} for {list(x.shape)}"
    return None if bool(torch.isfinite(out).all()) else "not finite"


# SAEs and their recipes


def _of_recipe(recipe: Recipe, x: Tensor) -> Iterator[Check]:
    yield Check("a recipe asks for what it is asked to ask for", lambda: _retargeted(recipe))
    yield Check("doubling the batch leaves the loss as it is", lambda: _doubled(recipe, x))
    yield Check("every weight that learns gets a gradient", lambda: _gradients(recipe, x))
    yield Check("a stack gives what its members give", lambda: _stacked(recipe, x))
    yield Check("it trains: finite losses, decoder rows of norm 1", lambda: _trains(recipe, x))
    yield Check("a training that goes on ends in the same bits", lambda: _resumes(recipe, x))


def _of_sae(sae: SparseAutoencoder, x: Tensor) -> Iterator[Check]:
    yield Check("no feature is negative", lambda: _positive(sae, x))
    yield Check("calibrated, it has the number of features asked for", lambda: _number(sae, x))
    yield Check("folding a scale keeps the function", lambda: _folds(sae, x))
    yield Check("saved and loaded, it encodes to the same bits", lambda: _saved(sae, x))


def _retargeted(recipe: Recipe) -> str | None:
    target = max(1, recipe.width // 4)
    found = recipe.with_target(target).sparsity_target
    return None if found == target else f"with_target({target}) asks for {found}"


def _loss(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    dead = torch.arange(sae.width) % 4 == 0
    return torch.stack(sae.loss(x, x, dead)[0])


def _doubled(recipe: Recipe, x: Tensor) -> str | None:
    sae = recipe.build(x.shape[1], seed=0)
    return _differs(_loss(sae, x), _loss(sae, torch.cat([x, x])), "losses")


def _gradients(recipe: Recipe, x: Tensor) -> str | None:
    sae = recipe.build(x.shape[1], seed=0)
    _loss(sae, x).sum().backward()
    learned = [(name, weight) for name, weight in sae.named_parameters() if weight.requires_grad]
    without = [name for name, w in learned if w.grad is None or not bool(w.grad.abs().sum() > 0)]
    return f"none for {', '.join(without)}" if without else None


def _stacked(recipe: Recipe, x: Tensor) -> str | None:
    saes = [recipe.build(x.shape[1], seed=seed) for seed in range(3)]
    whole = stacked(saes)
    dead = (torch.arange(recipe.width) % 4 == 0).expand(3, -1)
    together = torch.stack(whole.loss(x, x, dead)[0])
    alone = torch.stack([_loss(sae, x) for sae in saes], dim=1)
    same = torch.equal(_encode(member(whole, 1).eval(), x), _encode(saes[1].eval(), x))
    return _differs(together, alone, "losses") or (None if same else "members come out changed")


def _trainer(recipe: Recipe, x: Tensor) -> SAETrainer:
    return SAETrainer(recipe, x.shape[1], SAEPlan(rows=8 * len(x), batch=len(x), lr=1e-3))


def _at(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 2, dtype=torch.int32)


def _trains(recipe: Recipe, x: Tensor) -> str | None:
    trainer = _trainer(recipe, x)
    for _ in range(8):
        step = trainer.update(_at(x), x)[0]
        if not all(torch.isfinite(torch.tensor(list(step), dtype=torch.float64))):
            return f"step {step.step} reports {step}"
    norms = trainer.sae.W_dec.detach().norm(dim=-1)
    return _differs(norms, torch.ones_like(norms), "norms")


def _resumes(recipe: Recipe, x: Tensor) -> str | None:
    whole, first, second = (_trainer(recipe, x) for _ in range(3))
    for _ in range(8):
        whole.update(_at(x), x)
    for _ in range(4):
        first.update(_at(x), x)
    second.restore(first.state())
    for _ in range(4):
        second.update(_at(x), x)
    pairs = zip(whole.sae.state_dict().items(), second.sae.state_dict().values(), strict=True)
    changed = [name for (name, a), b in pairs if not torch.equal(a, b)]
    return (
        f"{', '.join(changed)} differ: keep all state in parameters and buffers"
        if changed
        else None
    )


def _positive(sae: SparseAutoencoder, x: Tensor) -> str | None:
    least = float(_encode(sae, x).min())
    return None if least >= 0 else f"{least:g}"


def _number(sae: SparseAutoencoder, x: Tensor) -> str | None:
    wanted, found = sae.recipe.sparsity_target, float((_encode(sae, x) > 0).sum(1).float().mean())
    if wanted is None or abs(found - wanted) <= 0.05 * wanted:
        return None
    return f"{found:.3g} of {wanted:g}"


@torch.no_grad()
def _folds(sae: SparseAutoencoder, x: Tensor) -> str | None:
    copy = member(stacked([sae, sae]), 0).eval()
    copy.unscale(2.0)
    return _differs(copy.encode(x), sae.encode(2.0 * x) / 2.0, "features") or _differs(
        copy.reconstruct(x), sae.reconstruct(2.0 * x) / 2.0, "reconstructions"
    )


def _saved(sae: SparseAutoencoder, x: Tensor) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        sae.save(Path(folder) / "sae")
        back = load_sae(Path(folder) / "sae")
    if type(back) is not type(sae):
        return (
            f"it comes back as {type(back).__name__}: name {sae.architecture!r} as an entry point"
            " of othellolens.architectures"
        )
    return None if torch.equal(_encode(back, x), _encode(sae, x)) else "other features"


def _differs(a: Tensor, b: Tensor, what: str) -> str | None:
    if a.shape != b.shape:
        return f"{what}: {list(a.shape)} and {list(b.shape)}"
    worst = float((a - b).detach().abs().max()) if a.numel() else 0.0
    size = max(1.0, float(b.detach().abs().max())) if b.numel() else 1.0
    return f"{what} differ by {worst:g}" if worst > 1e-4 * size else None
