"""The contract that every SAE keeps, and what all of them share.

An architecture is two names: a recipe (a frozen dataclass of hyper-parameters) and a final module.
W_enc [d_in, feature], W_dec [feature, d_out]; losses are sums over d_out and means over positions,
so that doubling the batch changes nothing. A transcoder is an SAE of any architecture whose target
is another site than its input: it does not subtract b_dec from what it reads, and may have a skip,
W_skip [d_out, d_in].

Every tensor may have one more axis in front, `member`: that many SAEs of one architecture and width
are then trained with one set of batched products (`sae.stack`). All that an architecture has to do
for it is to count axes from the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..artifact import new_folder, provenance, write_json, write_tensors
from ..encoder import Autoencoder
from ..errors import InputError
from .dense import seen

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
WARMUP = 0.05
"""Share of the training in which sparsity penalties rise to their full weight."""


class Loss(NamedTuple):
    """The parts of a training loss, one value a member; what is minimised is their sum."""

    reconstruction: Float[Tensor, "..."]
    """Squared error, summed over d_out, mean over positions."""
    sparsity: Float[Tensor, "..."]
    revival: Float[Tensor, "..."]
    """What keeps features alive, and what else an architecture adds."""

    def total(self) -> Float[Tensor, "..."]:
        """What is minimised."""
        return self.reconstruction + self.sparsity + self.revival


@dataclass(frozen=True)
class Recipe(ABC):
    """An architecture with its hyper-parameters: what `train_sae` is given."""

    width: int = 1024
    """Number of features."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"width is {self.width}: an SAE needs at least one feature")

    @abstractmethod
    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "SparseAutoencoder":
        """A fresh SAE; with `d_out`, a fresh transcoder."""

    @property
    @abstractmethod
    def sparsity_target(self) -> int | float | None:
        """Mean number of active features that is asked for, if one is."""

    @abstractmethod
    def with_target(self, l0: int | float) -> "Recipe":
        """The same with another target."""

    def static(self) -> dict[str, object]:
        """The hyper-parameters in which the members of a stack must agree."""
        return {"type": type(self), "width": self.width}


def check_weight(name: str, value: float) -> None:
    """Refuse a weight of a loss that is negative, NaN or infinite.

    Raises:
        InputError: naming it.
    """
    if not 0 <= value < inf:
        raise InputError(f"{name} is {value:g}: it must not be negative, nor without end")


@dataclass(frozen=True)
class Sparse(Recipe, ABC):
    """A recipe with k: it keeps a number of features."""

    k: int | float = 32
    """Mean number of active features a position."""
    aux: float = 1 / 32
    """Weight of the AuxK loss, both losses as fractions of variance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.k <= self.width:
            raise InputError(f"k is {self.k:g}: it must be from 1 to the width, {self.width}")
        check_weight("aux", self.aux)

    @property
    def sparsity_target(self) -> int | float | None:
        return self.k

    def with_target(self, l0: int | float) -> "Recipe":
        return replace(self, k=l0)


@dataclass(frozen=True)
class Penalised(Recipe, ABC):
    """A recipe with a penalty on activity, whose weight may be steered to a number of features."""

    penalty: float = 1.0
    """Weight of the sparsity penalty, for inputs of mean norm sqrt(d_in); with `l0`, its start."""
    l0: int | float | None = None
    """Mean number of active features to steer the penalty's weight to; None leaves it alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("penalty", self.penalty)
        if self.l0 is not None and not 0 < self.l0 <= self.width:
            raise InputError(
                f"l0 is {self.l0:g}: a mean number of active features is above 0 and at most the"
                f" width, {self.width}"
            )

    @property
    def sparsity_target(self) -> int | float | None:
        return self.l0

    def with_target(self, l0: int | float) -> "Recipe":
        return replace(self, l0=l0)

    @property
    def steered(self) -> bool:
        """Whether the training loop moves the weight of the penalty to reach `l0`."""
        return self.l0 is not None


class SparseAutoencoder(Autoencoder):
    """W_enc, b_enc, W_dec (rows of unit norm), b_dec; an SAE subtracts b_dec before encoding."""

    architecture: ClassVar[str]
    """The name of the recipe in saved files."""
    saved_as: ClassVar[str]
    """The SAELens architecture that encodes as this one does in eval mode."""
    resampled: ClassVar[bool] = False
    """Whether the training loop gives dead features a new start (see `sae.dead`)."""
    compiles: ClassVar[bool] = True
    """Whether `SAEPlan.compiled` compiles its loss."""
    uncompiled: ClassVar[tuple[str, ...]] = ()
    """Names of the modules inside that are run as they are, between what is compiled."""
    separable: bool = False
    """Whether the loss of a batch is the mean of the losses of its parts; see `SAETrainer`."""
    thins: ClassVar[bool] = False
    """Whether the loss uses sparse products once few features are on (`products.rectified`)."""
    tied: bool = False
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec")
    """Names of the tensors that `encode` and `decode` need."""
    offsets: ClassVar[tuple[str, ...]] = ("b_enc",)
    """Names of the tensors that have the unit of the features."""
    W_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    strength: Tensor
    """Weight of the sparsity penalty now, one a member; the training loop steers it."""

    def __init__(self, recipes: Sequence[Recipe], weights: "Weights") -> None:
        super().__init__()
        self.recipes = tuple(recipes)
        self.d_in, self.transcodes = weights.W_enc.shape[-2], weights.transcodes
        self.progress = 1.0
        """Share of the training that is done, from 0 to 1; set by the training loop."""
        self.W_enc, self.W_dec = nn.Parameter(weights.W_enc), nn.Parameter(weights.W_dec)
        self.b_dec = nn.Parameter(weights.W_dec.new_zeros(weights.W_dec[..., 0, :].shape))
        self.W_skip = None if weights.W_skip is None else nn.Parameter(weights.W_skip)
        penalised = isinstance(recipes[0], Penalised)
        none = self.W_dec.new_zeros(self.W_dec.shape[:-2])
        self.register_buffer("strength", self.each("penalty").clone() if penalised else none)

    @property
    def recipe(self) -> Recipe:
        """The architecture with its hyper-parameters (of the first member)."""
        return self.recipes[0]

    @property
    def width(self) -> int:
        """Number of features."""
        return self.W_dec.shape[-2]

    @property
    def members(self) -> int | None:
        """How many SAEs this is; None for one that is no stack."""
        return self.W_dec.shape[0] if self.W_dec.dim() == 3 else None

    @property
    def encoder(self) -> Float[Tensor, "... d_in feature"]:
        """What a training step encodes with: in a tied SAE the decoder's transpose."""
        return self.W_dec.mT if self.tied else self.W_enc

    def each(self, name: str) -> Float[Tensor, "..."]:
        """A hyper-parameter of the recipes as a tensor, one value a member."""
        values = torch.tensor([float(getattr(recipe, name)) for recipe in self.recipes])
        values = values.to(self.W_dec.device)
        return values if self.members is not None else values[0]

    @abstractmethod
    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        """The training loss on a batch and the features it was computed from.

        Args:
            x: what is read.
            y: what is to be rebuilt; x itself but for transcoders.
            dead: which features have been silent for long.
        """

    def compiled_loss(self) -> Callable[..., tuple[Loss, Tensor]]:
        """`loss`, compiled where that pays."""
        if not self.compiles:
            return self.loss
        for name in self.uncompiled:
            part: nn.Module = getattr(self, name)
            part.forward = torch.compiler.disable(part.forward)
        return torch.compile(self.loss)

    def weight(self) -> Float[Tensor, "..."]:
        """Of the sparsity penalty now, one a member: it rises from 0 as the training begins."""
        return self.strength * min(1.0, self.progress / WARMUP)

    @abstractmethod
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        """Called once after training, with fresh rows of its stream: settle what `encode` needs.

        Where a mean number of active features is asked for, `encode` has it on these rows.
        """

    def decode(
        self, features: Float[Tensor, "... position feature"]
    ) -> Float[Tensor, "... position d_out"]:
        return features @ self.W_dec + self.b_dec[..., None, :]

    def centred(self, x: Tensor) -> Tensor:
        """What the encoder's product sees: x - b_dec, or x in a transcoder."""
        return x if self.transcodes else x - self.b_dec[..., None, :]

    def pre_activations(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        """What each feature sees, of an architecture with b_enc."""
        b_enc: Tensor = self.b_enc  # pyright: ignore
        return self.seen(x) + b_enc[..., None, :]

    def seen(
        self,
        x: Float[Tensor, "... position d_in"],
        offset: Float[Tensor, "... feature"] | None = None,
        *,
        W_enc: Float[Tensor, "... d_in feature"] | None = None,
    ) -> Float[Tensor, "... position feature"]:
        """centred(x) W_enc + offset (see `sae.dense`); W_enc is the SAE's own by default."""
        weight = self.W_enc if W_enc is None else W_enc
        return seen(x, weight, None if self.transcodes else self.b_dec, offset)

    def save(self, path: str | Path) -> None:
        """Write the folder that SAELens 6 reads: cfg.json and sae_weights.safetensors.

        Raises:
            InputError: `path` exists.
        """
        with new_folder(Path(path)) as folder:
            self.write(folder)

    def write(self, folder: Path) -> None:
        """`save` into a folder that exists: cfg.json comes last, and says that all is there."""
        write_tensors(folder / WEIGHTS, self.exported())
        write_json(folder / CONFIG, self._config())

    def exported(self) -> dict[str, Tensor]:
        """The tensors that `encode` and `decode` need, as they are saved."""
        names = self.saved + (("W_skip",) if self.W_skip is not None else ())
        return {name: getattr(self, name).detach() for name in names}

    def _config(self) -> dict[str, Any]:
        width, d_out = self.W_dec.shape
        out = {"d_out": d_out} if self.transcodes else {}
        return {
            "architecture": _saved_name(self.saved_as, self.transcodes, self.W_skip is not None),
            "d_in": self.d_in,
            "d_sae": width,
            **out,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": not self.transcodes,
            "normalize_activations": "none",
            "reshape_activations": "none",
            **self.saved_settings(),
            "metadata": {
                "sae_lens_version": "6.0.0",
                "prepend_bos": False,
                "training_architecture": self.architecture,
                "training_architecture_details": asdict(self.recipe),
                "provenance": provenance(),
                **self.metadata,
            },
        }

    def saved_settings(self) -> dict[str, Any]:
        """What SAELens wants to know beside the tensors."""
        return {}

    @torch.no_grad()
    def remove_parallel_gradient(self) -> None:
        """Drop the part of the decoder's gradient that would change the norm of its rows."""
        if self.W_dec.grad is not None:
            self.remove_parallel(self.W_dec.grad)

    @torch.no_grad()
    def remove_parallel(self, change: Float[Tensor, "... feature d_out"]) -> None:
        """Drop the part of a change of the decoder that lies along its rows, in place."""
        change.sub_((change * self.W_dec).sum(-1, keepdim=True) * self.W_dec)

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Make every row of W_dec a unit vector. Called after each step, so saved rows are."""
        self.W_dec.div_(self.W_dec.norm(dim=-1, keepdim=True))

    @torch.no_grad()
    def unscale(self, scale_in: float, scale_out: float | None = None) -> None:
        """From an SAE of `scale * x` to the same SAE of x; features are divided by `scale_out`.

        Args:
            scale_in: of what it reads.
            scale_out: of what it rebuilds; the same, but for transcoders.
        """
        scale_out = scale_in if scale_out is None else scale_out
        for matrix in (self.W_enc, self.W_skip):
            if matrix is not None:
                matrix.mul_(scale_in / scale_out)
        for offset in (self.b_dec, *(getattr(self, name) for name in self.offsets)):
            offset.div_(scale_out)


def _saved_name(name: str, transcodes: bool, skips: bool) -> str:
    if not transcodes:
        return name
    head = "" if name == "standard" else f"{name}_"
    return f"{head}{'skip_' if skips else ''}transcoder"


class Weights(NamedTuple):
    """What an SAE begins with."""

    W_enc: Float[Tensor, "... d_in feature"]
    W_dec: Float[Tensor, "... feature d_out"]
    W_skip: Float[Tensor, "... d_out d_in"] | None = None
    transcodes: bool = False

    @property
    def b_enc(self) -> Float[Tensor, "... feature"]:
        """Biases of zero."""
        return self.W_enc.new_zeros(self.W_enc[..., 0, :].shape)


def fresh(width: int, d_in: int, *, d_out: int | None, skip: bool, seed: int) -> Weights:
    """Random unit decoder rows; the encoder is their transpose where the shapes allow it.

    A transcoder's decoder begins at unit rows like any other, its skip at 0.

    Raises:
        InputError: a skip without a target of its own.
    """
    generator = torch.Generator().manual_seed(seed)
    decoder = _unit(torch.randn(width, d_out or d_in, generator=generator))
    if d_out is None:
        if skip:
            raise InputError("a skip belongs to a transcoder: give it a target site")
        return Weights(decoder.T.clone().contiguous(), decoder)
    encoder = _unit(torch.randn(width, d_in, generator=generator)).T.clone().contiguous()
    return Weights(encoder, decoder, torch.zeros(d_out, d_in) if skip else None, True)


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def squared_error(
    guess: Float[Tensor, "... position d_out"], y: Float[Tensor, "... position d_out"]
) -> Float[Tensor, "..."]:
    """Summed over d_out, mean over positions."""
    return (guess.float() - y).pow(2).sum(-1).mean(-1)
