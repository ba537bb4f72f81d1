"""Contenders: what the folders on a command line hold, single encoders and whole sweeps."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from .artifact import read_json
from .encoder import Encoder
from .errors import InputError
from .sae.autoencoder import SparseAutoencoder
from .sae.runs import BEGUN
from .sweeps import RESULTS


class Contender(NamedTuple):
    """A folder that is to be judged, and what is known of it."""

    folder: Path
    name: str
    group: str | None
    asked: int | float | None
    seed: int | None


def contenders_of(run: Path) -> Iterator[Contender]:
    """A run folder, or each SAE of a sweep.

    Raises:
        InputError: a sweep that is not finished.
    """
    results = run / RESULTS
    if results.exists():
        for row in read_json(results)["saes"]:
            group = f"{row['architecture']} {row['width']}"
            name = f"{os.path.normpath(run)}/{row['name']}"
            yield Contender(run / row["name"], name, group, row["target"], row["seed"])
    elif (run / BEGUN).exists() and not (run / "cfg.json").exists():
        raise InputError(f"the sweep in {run} is not finished: othellolens sweep --resume")
    else:
        yield Contender(run, os.path.normpath(run), None, None, None)


def kind_of(encoder: Encoder) -> str:
    """What an encoder is, in two words."""
    if not isinstance(encoder, SparseAutoencoder):
        return "linear probe" if encoder.feature_names() else type(encoder).__name__
    name = encoder.metadata.get("training_architecture") or type(encoder).__name__
    return f"{name} {encoder.W_dec.shape[-2]}"


def asked_of(encoder: Encoder) -> int | float | None:
    """The mean number of active features that its training asked for, if it says so."""
    if not isinstance(encoder, SparseAutoencoder) or not encoder.metadata.get(_DETAILS):
        return None
    return encoder.recipe.sparsity_target


_DETAILS = "training_architecture_details"
_KIN = ("training_architecture", _DETAILS, "hook_name_out", "plan", "games")
# What the metadata of SAEs of ours say that differ by their seed alone.


def kin_of(encoder: Encoder, name: str) -> str:
    """The same for encoders that differ by their seed alone; `name` where that is not known."""
    told = encoder.metadata
    if not isinstance(encoder, SparseAutoencoder) or told.get("seed") is None:
        return name
    return fingerprint(encoder.W_skip is not None, *(told.get(key) for key in _KIN))[:12]


def fingerprint(*parts: object) -> str:
    """A hash of plain values, and of the weights of the modules among them."""
    digest = sha256()
    for part in parts:
        if not isinstance(part, nn.Module):
            digest.update(repr(part).encode())
            continue
        for name, weight in part.state_dict().items():
            flat = weight.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
