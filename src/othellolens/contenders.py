"""Contenders: what the folders on a command line hold, single encoders and whole sweeps."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
            name = f"{run.name}/{row['name']}"
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
