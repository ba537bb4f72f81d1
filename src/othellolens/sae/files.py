"""SAEs on disk: SAELens' own folder (version 6), cfg.json and sae_weights.safetensors.

So SAELens loads ours and we load theirs: `standard` is our ReLU, and BatchTopK is saved as the
`jumprelu` that it is at inference, as SAELens does.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..artifact import (
    check_tensors,
    new_folder,
    provenance,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from ..errors import InputError
from .autoencoder import SparseAutoencoder
from .batch_topk import BatchTopK, BatchTopKSAE
from .relu import Relu, ReluSAE

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
_SAVED_AS = {"relu": "standard", "batchtopk": "jumprelu"}


def save_sae(
    sae: SparseAutoencoder, path: Path, *, model: str, hook_name: str, **metadata: object
) -> None:
    """Write the folder in one step.

    Args:
        sae: what to save.
        path: the folder, which must not exist.
        model: name or path of the model that it was trained on.
        hook_name: where in the model.
        metadata: anything else worth keeping (plan, origin of the games, scores).

    Raises:
        InputError: `path` exists.
    """
    width, d_in = sae.W_dec.shape
    config = {
        "architecture": _SAVED_AS[sae.architecture],
        "d_in": d_in,
        "d_sae": width,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0",
            "model_name": model,
            "hook_name": hook_name,
            "context_size": 59,
            "prepend_bos": False,
            "training_architecture": sae.architecture,
            "training_architecture_details": asdict(sae.recipe),  # pyright: ignore
            "provenance": provenance(),
            **metadata,
        },
    }
    with new_folder(path) as folder:
        write_json(folder / CONFIG, config)
        write_tensors(folder / WEIGHTS, sae.state_dict())


def load_sae(path: Path) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """An SAE in eval mode and its metadata, from a folder that we or SAELens (6) wrote.

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
    return sae.eval(), metadata


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
    ours = metadata.get("training_architecture") in _SAVED_AS
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
