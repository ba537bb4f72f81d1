"""Counts on disk: each process counts its share of the games, and one adds what all have saved."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import torch

from ..artifact import (
    CONFIG,
    check_tensors,
    new_folder,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from ..concepts import Concept, ConceptSet
from ..errors import InputError
from .counts import Counts

KIND = "counts"
_TENSORS = "counts.safetensors"


def save_counts(counts: Counts, path: str | Path) -> None:
    """Write counts to a new folder, in one step.

    Raises:
        InputError: the folder exists.
    """
    concepts = [[c.family, c.square, c.detail] for c in counts.concepts.concepts]
    about = {"kind": KIND, "thresholds": counts.thresholds, "concepts": concepts}
    with new_folder(Path(path)) as work:
        write_json(work / CONFIG, about)
        write_tensors(work / _TENSORS, _tensors(counts))


def load_counts(path: str | Path) -> Counts:
    """What `save_counts` wrote.

    Raises:
        InputError: no such folder, not of counts, or damaged.
    """
    path = Path(path)
    about = read_json(path / CONFIG)
    if about.get("kind") != KIND:
        raise InputError(f"{path} holds no counts: it is of kind {about.get('kind')!r}")
    concepts = ConceptSet(tuple(Concept(*concept) for concept in about["concepts"]))
    thresholds = tuple(about["thresholds"])
    found = read_tensors(path / _TENSORS)
    features = len(found.get("peak", ()))
    check_tensors(str(path), found, _blank(len(thresholds), features, len(concepts)))
    return Counts(concepts, thresholds, **found)


def merged(paths: Sequence[str | Path]) -> Counts:
    """The sum of saved counts, exactly what one process would have counted.

    Raises:
        InputError: there are none, or they do not count the same things.
    """
    if not paths:
        raise InputError("there are no counts to add up: name their folders")
    return reduce(add, (load_counts(path) for path in paths))


def _tensors(counts: Counts) -> dict[str, torch.Tensor]:
    names = ("peak", "positions", "fires", "holds", "both")
    return {name: getattr(counts, name) for name in names}


def _blank(thresholds: int, features: int, concepts: int) -> dict[str, torch.Tensor]:
    """Tensors of the right shapes that take no memory."""
    shapes = {
        "peak": (features,),
        "positions": (2,),
        "fires": (2, thresholds, features),
        "holds": (2, concepts),
        "both": (2, thresholds, features, concepts),
    }
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
