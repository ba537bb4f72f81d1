"""dictionary_learning: a folder with `ae.pt` (a state dict) and `config.json`.

Which class it is stands in `trainer.dict_class`. A JumpReluAutoEncoder and an AutoEncoderNew read x
as it is, the others subtract their bias first. An AutoEncoder's decoder is brought to unit rows, as
its own loader does: features then have the size that they write.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from ...artifact import CONFIG, read_json
from ...errors import InputError
from ...gpt.checkpoints.weights import read_weights
from ...gpt.sites import Site
from ..autoencoder import Recipe, SparseAutoencoder
from ..batch_topk import BatchTopK
from ..files import load_tensors, shift_by_b_dec
from ..gated import Gated
from ..jump_relu import JumpRelu
from ..matryoshka import Matryoshka
from ..relu import Relu
from ..topk import TopK

WEIGHTS = "ae.pt"

Tensors: TypeAlias = dict[str, Tensor]


def fits(path: Path) -> bool:
    """Whether this is such a folder."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def read(path: Path) -> SparseAutoencoder:
    """An SAE in eval mode.

    Raises:
        InputError: a file is damaged, the class is not known, or tensors do not fit (all listed).
    """
    told = read_json(path / CONFIG).get("trainer")
    if not isinstance(told, dict):
        raise InputError(f"{path / CONFIG} has no `trainer`: it is not of dictionary_learning")
    name = str(told.get("dict_class"))
    if name not in _CLASSES:
        known = ", ".join(_CLASSES)
        raise InputError(f"{path / CONFIG}: dict_class {name!r} is not read; these are: {known}")
    names, convert = _CLASSES[name]
    what, found = str(path / WEIGHTS), read_weights(path / WEIGHTS)
    _check_names(what, found, names)
    tensors = {ours: found[theirs].float() for theirs, ours in names.items()}
    for key in ("W_enc", "W_dec"):
        if tensors[key].dim() != 2:
            raise InputError(f"{what}: {key} is {list(tensors[key].shape)}, not a matrix")
    if "encoder.weight" in names:
        tensors["W_enc"], tensors["W_dec"] = tensors["W_enc"].T, tensors["W_dec"].T
    recipe = convert(tensors, told, what)
    sae = recipe.build(tensors["W_enc"].shape[0])
    load_tensors(sae, what, tensors)
    sae.metadata = _metadata(name, told)
    return sae.eval()


def _check_names(what: str, found: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    extra = {"k", "threshold", "group_sizes"}
    faults = [f"{name} is missing" for name in names if name not in found]
    faults += [f"{name} is unknown" for name in found if name not in names and name not in extra]
    if faults:
        raise InputError(f"{what} does not fit: {'; '.join(faults)}")


def _metadata(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    site = _site(str(told.get("submodule_name")))
    keys = ("lm_name", "layer", "submodule_name", "trainer_class", "lr", "steps", "seed")
    return {
        "read_from": f"dictionary_learning {name}",
        **({"hook_name": site.hook_name} if site else {}),
        "trainer": {key: told[key] for key in keys if key in told},
    }


def _site(submodule: str) -> Site | None:
    """Where it was trained, if its name for that says so."""
    match = re.fullmatch(r"(resid_(?:pre|mid|post)|mlp_out|attn_out)_layer_?(\d+)", submodule)
    if match:
        return Site(match[1], int(match[2]))
    match = re.search(r"blocks\.\d+\.\S+", submodule)
    try:
        return Site.parse(match[0]) if match else None
    except InputError:
        return None


def _relu(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:  # noqa: ARG001
    norm = tensors["W_dec"].norm(dim=1)
    tensors["W_dec"] = tensors["W_dec"] / norm[:, None]
    tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] * norm, tensors["b_enc"] * norm
    return Relu(len(norm))


def _relu_new(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:  # noqa: ARG001
    shift_by_b_dec(tensors)
    return Relu(len(tensors["W_dec"]))


def _gated(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:  # noqa: ARG001
    return Gated(len(tensors["W_dec"]))


def _jump(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:  # noqa: ARG001
    shift_by_b_dec(tensors)
    return JumpRelu(len(tensors["W_dec"]))


def _topk(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:
    return TopK(len(tensors["W_dec"]), k=_k(told, what))


def _batch_topk(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:
    tensors["threshold"] = tensors["threshold"].expand(len(tensors["W_dec"]))
    return BatchTopK(len(tensors["W_dec"]), k=_k(told, what))


def _matryoshka(tensors: Tensors, told: Mapping[str, Any], what: str) -> Recipe:
    sizes = tensors.pop("group_sizes").long().cumsum(0)
    tensors["threshold"] = tensors["threshold"].expand(len(tensors["W_dec"]))
    levels = tuple(float(size) / len(tensors["W_dec"]) for size in sizes)
    return Matryoshka(len(tensors["W_dec"]), k=_k(told, what), levels=levels)


def _k(told: Mapping[str, Any], what: str) -> int:
    k = told.get("k")
    if not isinstance(k, int):
        raise InputError(f"{what}: its config.json does not say k, the features that stay")
    return k


_LINEAR = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec"}
_PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
_Convert: TypeAlias = Callable[[Tensors, Mapping[str, Any], str], Recipe]
_CLASSES: dict[str, tuple[dict[str, str], _Convert]] = {
    "AutoEncoder": ({**_LINEAR, "bias": "b_dec"}, _relu),
    "AutoEncoderNew": ({**_LINEAR, "decoder.bias": "b_dec"}, _relu_new),
    "AutoEncoderTopK": ({**_LINEAR, "b_dec": "b_dec"}, _topk),
    "BatchTopKSAE": ({**_LINEAR, "b_dec": "b_dec", "threshold": "threshold"}, _batch_topk),
    "MatryoshkaBatchTopKSAE": ({**_PLAIN, "group_sizes": "group_sizes"}, _matryoshka),
    "JumpReluAutoEncoder": (_PLAIN, _jump),
    "GatedAutoEncoder": (
        {
            "encoder.weight": "W_enc", "decoder.weight": "W_dec", "decoder_bias": "b_dec",
            "gate_bias": "b_gate", "mag_bias": "b_mag", "r_mag": "r_mag",
        },
        _gated,
    ),
}  # fmt: skip
