"""Reading SAEs from SAELens' own folder, which is also the one that we write (as version 6).

What SAELens has no name for is saved as what encodes alike: BatchTopK, Matryoshka and ProLU as
`jumprelu`, p-annealing as `standard`, its gated form as `gated`. Which it was stands in the
metadata, and comes back.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..artifact import check_tensors, read_json, read_tensors
from ..errors import InputError
from .architectures import OURS, architecture, is_known
from .autoencoder import CONFIG, WEIGHTS, Recipe, SparseAutoencoder
from .gated import Gated
from .jump_relu import JumpRelu
from .relu import Relu
from .topk import TopK


def load_sae(path: Path) -> SparseAutoencoder:
    """An SAE in eval mode with its metadata, from a folder that we or SAELens wrote.

    Raises:
        InputError: a file is missing or damaged, the architecture is unknown, or keys or shapes
            do not fit (all are listed).
    """
    config = read_json(path / CONFIG)
    try:
        d_in, width = int(config["d_in"]), int(config["d_sae"])
        d_out = int(config["d_out"]) if config.get("d_out") is not None else None
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path / CONFIG} has no d_in and d_sae: it is no SAE") from None
    _check_inference(path, config)
    recipe, kind = _recipe(path, config, width)
    skip = kind.endswith("skip_transcoder")
    out = (d_out or d_in) if kind.endswith("transcoder") else None
    sae = recipe.build(d_in, d_out=out, skip=skip)
    tensors = read_tensors(path / WEIGHTS)
    load_tensors(sae, str(path / WEIGHTS), _folded(config, tensors))
    sae.metadata = dict(config.get("metadata") or _flat(config))
    return sae.eval()


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """What SAELens before version 6 wrote side by side with the shape."""
    return {
        key: config[key] for key in ("model_name", "hook_name", "context_size") if key in config
    }


def load_tensors(sae: SparseAutoencoder, what: str, tensors: Mapping[str, Tensor]) -> None:
    """Put saved tensors in their places.

    Raises:
        InputError: keys or shapes do not fit, or numbers are not finite (all are listed).
    """
    check_tensors(what, tensors, sae.exported())
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise InputError(f"{what} does not hold finite numbers in {', '.join(bad)}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            getattr(sae, name).copy_(tensor)


def _check_inference(path: Path, config: Mapping[str, Any]) -> None:
    wanted = {"normalize_activations": ("none", None), "reshape_activations": ("none", None)}
    for key, values in wanted.items():
        if config.get(key) not in values:
            raise InputError(
                f"{path / CONFIG}: {key} is {config[key]!r}; only 'none' is read:"
                " fold it into the weights with SAELens first"
            )


def _recipe(path: Path, config: Mapping[str, Any], width: int) -> tuple[Recipe, str]:
    """The recipe, as it was where the file says so, and the architecture's name in SAELens."""
    kind = _kind(config)
    metadata: Mapping[str, Any] = config.get("metadata") or {}
    details: Mapping[str, Any] = metadata.get("training_architecture_details") or {}
    name = str(metadata.get("training_architecture"))
    if is_known(name) and set(details) == {field.name for field in fields(architecture(name))}:
        values = {key: _tuple(value) for key, value in details.items()}
        return architecture(name)(**{**values, "width": width}), kind
    base = kind.removesuffix("transcoder").removesuffix("skip_").removesuffix("_") or "standard"
    recipes: dict[str, Any] = {
        "standard": lambda: Relu(width),
        "jumprelu": lambda: JumpRelu(width),
        "gated": lambda: Gated(width),
        "topk": lambda: TopK(width, k=_whole(path, _k(config))),
    }
    if base not in recipes:
        raise InputError(
            f"{path / CONFIG}: architecture {kind!r} is not read; these are: {', '.join(recipes)},"
            f" their transcoders, and what othellolens wrote ({', '.join(OURS)})"
        )
    return recipes[base](), kind


def _kind(config: Mapping[str, Any]) -> str:
    """The architecture; before version 6 a TopK was `standard` with another activation."""
    if config.get("activation_fn_str", config.get("activation_fn")) == "topk":
        return "topk"
    return str(config.get("architecture") or "standard")


def _k(config: Mapping[str, Any]) -> object:
    return config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _whole(path: Path, k: object) -> int:
    if not isinstance(k, int):
        raise InputError(f"{path / CONFIG}: k is {k!r}, not a whole number")
    return k


def _folded(config: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an SAE that subtracts b_dec and ranks by plain activations.

    SAELens may do neither: an SAE may read x as it is, and a TopK may rank (and return) activations
    times the norm of their decoder row. Both are other weights of the same function.
    """
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    scaling = tensors.pop("scaling_factor", None)
    if config.get("finetuning_scaling_factor") and scaling is not None and "W_dec" in tensors:
        tensors["W_dec"] = tensors["W_dec"] * scaling[:, None]
    if config.get("rescale_acts_by_decoder_norm") and {"W_dec", "W_enc", "b_enc"} <= set(tensors):
        norm = tensors["W_dec"].norm(dim=1)
        tensors["W_dec"] = tensors["W_dec"] / norm[:, None]
        tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] * norm, tensors["b_enc"] * norm
    transcodes = str(config.get("architecture")).endswith("transcoder")
    if not transcodes and config.get("apply_b_dec_to_input") is False:
        shift_by_b_dec(tensors)
    return tensors


def shift_by_b_dec(tensors: dict[str, Tensor]) -> None:
    """Make an encoder that reads x as it is one that subtracts b_dec first, in place."""
    if not {"W_enc", "b_dec"} <= set(tensors):
        return
    shift = tensors["b_dec"] @ tensors["W_enc"]
    for name, size in (("b_enc", 1.0), ("b_gate", 1.0)):
        if name in tensors:
            tensors[name] = tensors[name] + shift * size
    if {"b_mag", "r_mag"} <= set(tensors):
        tensors["b_mag"] = tensors["b_mag"] + shift * tensors["r_mag"].exp()
