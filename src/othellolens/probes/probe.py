"""What every probe is: an encoder that was told the truth, with its inputs centred and scaled."""

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..artifact import CONFIG, new_folder, provenance, write_json, write_tensors
from ..encoder import Encoder
from ..gpt.sites import Site

WEIGHTS = "probe.safetensors"
UNKNOWN = -100
"""The label of what is not known at a position; nothing is learnt from it or counted."""


class Probe(Encoder, ABC):
    """A supervised encoder; its features are probabilities of named facts."""

    kind: ClassVar[str]
    mean: Tensor
    scale: Tensor

    def __init__(self, d_in: int) -> None:
        super().__init__()
        self.d_in = d_in
        self.register_buffer("mean", torch.zeros(d_in))
        self.register_buffer("scale", torch.ones(()))

    @abstractmethod
    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position ..."]:
        """Unnormalised log probabilities."""

    @abstractmethod
    def loss(
        self, logits: Float[Tensor, "position ..."], truth: Int64[Tensor, "position fact"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy, nats a fact; labels that are `UNKNOWN` are left out."""

    @abstractmethod
    def guess(self, logits: Float[Tensor, "position ..."]) -> Int64[Tensor, "position fact"]:
        """The most likely label of each fact."""

    def shape(self) -> dict[str, Any]:
        """What must be known to make another of the same shape; saved in config.json."""
        return {"d_in": self.d_in}

    def standardised(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position d_in"]:
        """Centred, and scaled to a mean variance of 1 an axis, as in the sample it was set on."""
        return (x - self.mean) * self.scale

    @torch.no_grad()
    def settle(self, sample: Float[Tensor, "position d_in"]) -> None:
        """Take centre and scale from a sample, so that one learning rate suits all sites."""
        self.mean.copy_(sample.mean(0))
        self.scale.copy_(1 / (sample - self.mean).pow(2).mean().sqrt().clamp(min=1e-12))

    def save(self, path: str | Path) -> None:
        """Write a folder of config.json and probe.safetensors.

        Raises:
            InputError: `path` exists.
        """
        head = {"kind": self.kind, "schema": 1, "provenance": provenance()}
        with new_folder(Path(path)) as folder:
            write_json(folder / CONFIG, {**self.metadata, **head, **self.shape()})
            write_tensors(folder / WEIGHTS, self.state_dict())


def site_of(probe: Encoder) -> Site | None:
    """Where a probe was fitted; None where its metadata does not say."""
    told = probe.metadata.get("site") or probe.metadata.get("hook_name")
    return Site.parse(told) if told else None


def warn_elsewhere(probe: Encoder, site: Site) -> None:
    """Warn where a probe is to be used at another site than the one it was fitted at."""
    fitted = site_of(probe)
    if fitted is not None and fitted != site:
        warnings.warn(
            f"what was fitted at {fitted} is used at {site}: what it finds there may"
            " say more of the difference than of the model",
            stacklevel=3,
        )
