"""sparsify (EleutherAI): a folder with `cfg.json` and `sae.safetensors`, one for each hook point.

TopK, as an SAE that subtracts b_dec or as a transcoder that does not, with a skip if it has one.
`multi_topk` and `expansion_factor` matter in training only.
"""

from pathlib import Path
from typing import Any

from ...artifact import read_json, read_tensors
from ...errors import InputError
from ...gpt.sites import Site
from ..autoencoder import CONFIG, SparseAutoencoder
from ..files import load_tensors
from ..topk import TopK

WEIGHTS = "sae.safetensors"
_NAMES = {"encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec", "W_skip": "W_skip"}


def fits(path: Path) -> bool:
    """Whether this is such a folder."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def among(path: Path) -> list[str]:
    """The hook points of a folder that holds several."""
    return sorted(inner.name for inner in path.iterdir() if inner.is_dir() and fits(inner))


def read(path: Path) -> SparseAutoencoder:
    """An SAE or a transcoder in eval mode.

    Raises:
        InputError: a file is damaged, the activation is not topk, or tensors do not fit (all
            listed).
    """
    config = read_json(path / CONFIG)
    if config.get("activation", "topk") != "topk":
        raise InputError(
            f"{path / CONFIG}: activation {config['activation']!r} is not read: topk is"
        )
    k, d_in = config.get("k"), config.get("d_in")
    if not isinstance(k, int) or not isinstance(d_in, int):
        raise InputError(f"{path / CONFIG} does not say k and d_in: it is not of sparsify")
    what, found = str(path / WEIGHTS), read_tensors(path / WEIGHTS)
    if "encoder.weight" not in found or found["encoder.weight"].dim() != 2:
        raise InputError(f"{what} has no encoder.weight [feature, d_in]: it is not of sparsify")
    tensors = {_NAMES.get(name, name): tensor.float() for name, tensor in found.items()}
    tensors["W_enc"] = tensors.pop("encoder.weight").T
    transcodes = bool(config.get("transcode"))
    skip = bool(config.get("skip_connection")) and "W_skip" in tensors
    if skip and not transcodes:
        raise InputError(f"{path / CONFIG}: an SAE with a skip is not read: a transcoder is")
    sae = TopK(tensors["W_enc"].shape[1], k=k).build(
        d_in, d_out=d_in if transcodes else None, skip=skip
    )
    load_tensors(sae, what, tensors)
    sae.metadata = _metadata(path, config)
    return sae.eval()


def _metadata(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Its folder is named after the hook point."""
    try:
        told = {"hook_name": Site.parse(path.name).hook_name}
    except InputError:
        told = {}
    return {"read_from": f"sparsify, hook point {path.name}", **told, "config": config}
