"""Reading SAEs from SAELens' own folder (version 6), which is also the one that we write.

`standard` is our ReLU; BatchTopK is saved as the `jumprelu` that it is at inference, as SAELens
does.
"""

from pathlib import Path
from typing import Any

from ..artifact import check_tensors, read_json, read_tensors
from ..errors import InputError
from .autoencoder import CONFIG, WEIGHTS, SparseAutoencoder
from .batch_topk import BatchTopK, BatchTopKSAE
from .relu import Relu, ReluSAE

_OURS = (ReluSAE.architecture, BatchTopKSAE.architecture)


def load_sae(path: Path) -> SparseAutoencoder:
    """An SAE in eval mode with its metadata, from a folder that we or SAELens (6) wrote.

    Raises:
        InputError: a file is missing or damaged, the architecture is another, or keys or shapes
            do not fit (all are listed).
    """
    config = read_json(path / CONFIG)
    metadata: dict[str, Any] = config.get("metadata", {})
    try:
        d_in, width = int(config["d_in"]), int(config["d_sae"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path / CONFIG} has no d_in and d_sae: it is no SAE of ours") from None
    _check_inference(path, config)
    sae = _empty(path, config.get("architecture"), d_in, width, metadata)
    tensors = read_tensors(path / WEIGHTS)
    check_tensors(str(path / WEIGHTS), tensors, sae.state_dict())
    sae.load_state_dict(tensors)
    sae.metadata = metadata
    return sae.eval()


def _check_inference(path: Path, config: dict[str, Any]) -> None:
    wanted = {"normalize_activations": "none", "reshape_activations": "none"}
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise InputError(
                f"{path / CONFIG}: {key} is {config[key]!r}; only {value!r} is read:"
                " fold it into the weights with SAELens first"
            )
    if not config.get("apply_b_dec_to_input", True):
        raise InputError(f"{path / CONFIG}: SAEs that do not subtract b_dec are not read yet")


def _empty(
    path: Path, architecture: object, d_in: int, width: int, metadata: dict[str, Any]
) -> SparseAutoencoder:
    details: dict[str, Any] = metadata.get("training_architecture_details") or {}
    ours = metadata.get("training_architecture") in _OURS
    if architecture == "standard":
        recipe = Relu(**details) if ours and set(details) == {"width", "l1"} else Relu(width)
        return ReluSAE(d_in, recipe)
    if architecture == "jumprelu":
        known = ours and set(details) == {"width", "k", "aux"}
        return BatchTopKSAE(d_in, BatchTopK(**details) if known else BatchTopK(width, k=1))
    raise InputError(
        f"{path / CONFIG}: architecture {architecture!r} is not read yet;"
        " these are: standard, jumprelu (as which BatchTopK is saved)"
    )
