"""check_encoder: passes what keeps the contract, and says of what does not what is wrong."""

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Float
from reference.recipes import RECIPES
from torch import Tensor

from othellolens.encoder import PCA, Encoder, Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.sae import architectures
from othellolens.sae.architectures import architecture
from othellolens.sae.autoencoder import fresh
from othellolens.sae.topk import TopK, TopKSAE
from othellolens.testing import ContractError, check_encoder


def sample() -> Tensor:
    return torch.randn(300, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", RECIPES)
def test_every_architecture_of_ours_passes(name: str) -> None:
    clauses = check_encoder(RECIPES[name])
    assert len(clauses) >= 15


@pytest.mark.parametrize(
    "encoder", [Neurons(), PCA(sample()), RandomDirections(sample(), features=9, seed=0)]
)
def test_encoders_without_training_pass(encoder: Encoder) -> None:
    assert len(check_encoder(encoder)) >= 5


class Faulty(Encoder):
    """Wrong in as many ways as are asked for."""

    def __init__(self, *faults: str) -> None:
        super().__init__()
        self.d_in, self.faults, self.calls = 6, faults, 0

    def encode(self, x: Float[Tensor, "position d_in"]) -> Tensor:  # pyright: ignore
        self.calls += 1
        out = x.relu()
        if "batch" in self.faults:
            out = out - out.mean(0)
        if "state" in self.faults:
            out = out + self.calls
        if "writes" in self.faults:
            x.zero_()
        if "nan" in self.faults:
            out = out / 0
        return out.sum() if "shape" in self.faults else out

    def feature_names(self) -> tuple[str, ...] | None:
        return ("only one",) if "names" in self.faults else None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("batch", "does not depend on the rest of the batch: rows alone and together differ"),
        ("state", "the same twice: two calls differ"),
        ("writes", "leaves what it reads as it was: x was written to"),
        ("nan", "finite floats: torch.float32, all finite: False"),
        ("shape", r"encode gives \[position, feature\]"),
        ("names", "1 names for 6 features"),
    ],
)
def test_each_fault_is_named(fault: str, said: str) -> None:
    check_encoder(Faulty())
    with pytest.raises(ContractError, match=said):
        check_encoder(Faulty(fault))


def test_all_faults_are_listed_at_once() -> None:
    with pytest.raises(ContractError) as error:
        check_encoder(Faulty("batch", "names"))
    assert len(str(error.value).splitlines()) == 2


@dataclass(frozen=True)
class Theirs(TopK):
    """A third-party architecture: TopK, and it may forget what is part of the contract."""

    fault: str = ""

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "TheirSAE":
        return TheirSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))


class TheirSAE(TopKSAE):
    architecture: ClassVar[str] = "theirs"

    def loss(self, x: Tensor, y: Tensor, dead: Tensor) -> Any:
        loss, features = super().loss(x, y, dead)
        if self.recipe.fault == "sum":  # pyright: ignore
            loss = loss._replace(reconstruction=loss.reconstruction * x.shape[-2])
        if self.recipe.fault == "nan":  # pyright: ignore
            loss = loss._replace(sparsity=loss.sparsity * float("nan"))
        return loss, features

    def normalize_decoder(self) -> None:
        if self.recipe.fault != "norm":  # pyright: ignore
            super().normalize_decoder()


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("theirs", "test_testing:Theirs", architectures.GROUP),
            EntryPoint("broken", "no_such_module:Theirs", architectures.GROUP),
            EntryPoint("number", "math:pi", architectures.GROUP),
        ]
    )
    monkeypatch.setattr(architectures, "entry_points", lambda group: points.select(group=group))


@pytest.mark.usefixtures("plugged_in")
def test_a_third_party_architecture_plugs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "test_testing", sys.modules[__name__])
    assert architecture("theirs") is Theirs
    assert architectures.name_of(Theirs(8, k=2)) == "theirs"
    check_encoder(Theirs(24, k=3))
    with pytest.raises(InputError, match=r"'broken' \(no_such_module:Theirs\)"):
        architecture("broken")
    with pytest.raises(InputError, match="'number' .* is no Recipe"):
        architecture("number")


@pytest.mark.usefixtures("plugged_in")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sum", "doubling the batch leaves the loss as it is"),
        ("nan", "finite losses"),
        ("norm", "decoder rows of norm 1"),
    ],
)
def test_a_third_partys_fault_is_named(fault: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        check_encoder(replace(Theirs(24, k=3), fault=fault))


def test_an_architecture_that_is_not_registered_is_told_how() -> None:
    with pytest.raises(ContractError, match="entry point of othellolens.architectures"):
        check_encoder(Theirs(24, k=3))
