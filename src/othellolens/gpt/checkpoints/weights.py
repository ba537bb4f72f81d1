"""Named tensors from a file that somebody else wrote, and a model from named tensors."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...artifact import check_tensors, read_tensors
from ...errors import InputError
from ..model import GPT
from ..shape import GPTConfig
from ..tokens import VOCABULARY

_DEEP = 100
# Layers: for the absence of so many, no list of what is missing is made.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """All named tensors of a safetensors or PyTorch file; code in it is never run.

    A state dict that lies within another dict, or under the "module." of data parallelism, is
    taken out.

    Raises:
        InputError: no such file, empty, truncated, another kind of file, or a pickle with code.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file: give the path of a checkpoint")
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise InputError(f"{path} is empty: fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not the weights: run git lfs pull")
    if head.lstrip()[:1] == b"<":
        raise InputError(f"{path} is a web page, not weights: fetch the file itself")
    if head[8:9] == b"{":
        return read_tensors(path)
    _check_sums(path)
    tensors = _named(path, _load(path, head))
    odd = [key for key, value in tensors.items() if not _is_plain(value)]
    if odd:
        raise InputError(
            f"{path}: {', '.join(odd)[:200]} is sparse, quantised or less than it says: save it as"
            " a plain tensor"
        )
    return tensors


def build(what: str, cfg: GPTConfig, tensors: Mapping[str, Tensor]) -> GPT:
    """A model in eval mode with these weights, in our names.

    Raises:
        InputError: keys or shapes do not fit (all listed), or a weight is not finite.
    """
    if (held := layers(tensors)) != cfg.n_layers and cfg.n_layers > _DEEP:
        raise InputError(f"{what} has {held} layers, and its shape says {cfg.n_layers}")
    try:
        with torch.device("meta"):  # no memory is taken for a shape that the file may not have
            model = GPT(cfg)
    except RuntimeError:
        raise InputError(f"{what}: nothing is large enough for the shape {cfg}") from None
    check_tensors(what, tensors, model.state_dict())
    check_numbers(what, tensors)
    model.to_empty(device="cpu").load_state_dict(dict(tensors))
    return model.eval()


def shape(what: str, **sizes: Any) -> GPTConfig:
    """A shape that was read off tensors.

    Raises:
        InputError: it can be none; the message names the file.
    """
    try:
        return GPTConfig(**sizes)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def check_numbers(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no finite real numbers.

    Raises:
        InputError: naming every such tensor.
    """
    whole = [key for key, value in tensors.items() if not value.is_floating_point()]
    if whole:
        raise InputError(f"{what}: {', '.join(whole)} holds no real numbers: it is no weight")
    bad = [key for key, value in tensors.items() if not bool(value.float().isfinite().all())]
    if bad:
        raise InputError(f"{what} has NaN or infinite weights in {', '.join(bad)}: it is spoilt")


def check_eps(model: GPT, form: str) -> None:
    """Refuse to write a model whose eps a form does not keep.

    Raises:
        InputError: it is not the one with which all models of that form are read.
    """
    if model.cfg.eps != GPTConfig.eps:
        raise InputError(
            f"{form} does not say the eps of layer norms, which is {GPTConfig.eps:g} there and"
            f" {model.cfg.eps:g} here: save the model as othellolens"
        )


def check_vocabulary(what: str, size: int) -> None:
    """Refuse a model that reads something else than Othello moves.

    Raises:
        InputError: its vocabulary is not that of Othello-GPT.
    """
    if size != VOCABULARY:
        raise InputError(
            f"{what} has {size} tokens; Othello-GPT has {VOCABULARY}: it is another model"
        )


def layers(tensors: Mapping[str, Tensor]) -> int:
    """How many blocks the names speak of."""
    return len({match[1] for key in tensors if (match := re.match(r"blocks\.(\d+)\.", key))})


def axis(tensors: Mapping[str, Tensor], name: str, which: int, default: int) -> int:
    """The length of an axis of the first tensor whose name ends so; misfits are found later."""
    for key, value in tensors.items():
        if key.endswith(name) and -value.dim() <= which < value.dim():
            return max(1, value.shape[which])
    return default


def _is_plain(value: Tensor) -> bool:
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    # An expanded tensor says that it is larger than what is there.
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _check_sums(path: Path) -> None:
    """Refuse a zip file with a part that is not as it was written, which torch does not notice."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as file:
            spoilt = file.testzip()
    except Exception:
        spoilt = "its list of contents"
    if spoilt is not None:
        raise InputError(f"{path} is damaged ({spoilt} has a wrong checksum): fetch it again")


def _load(path: Path, head: bytes) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        plain = head[:1] == b"\x80" and head[1:2] > b"\x02"  # torch itself writes protocol 2
        if plain or re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise InputError(
                f"{path} holds code or objects beside tensors; nothing of it was run: ask its"
                " author for a state dict, or better a safetensors file"
            ) from None
        raise InputError(f"{path} is truncated or no file of weights: fetch it again") from None
    except Exception:
        raise InputError(f"{path} is truncated or no file of weights: fetch it again") from None


def _named(path: Path, loaded: object) -> dict[str, Tensor]:
    held: Any = loaded
    for wrapper in _WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(wrapper), dict):
            held = held[wrapper]
    if not isinstance(held, dict) or not held:
        raise InputError(f"{path} holds {type(held).__name__}, no named tensors: it is no model")
    other = [str(k) for k, v in held.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if other:
        raise InputError(f"{path} holds more than named tensors ({', '.join(other)[:200]})")
    tensors: dict[str, Tensor] = held
    if all(key.startswith("module.") for key in tensors):
        return {key.removeprefix("module."): value for key, value in tensors.items()}
    return dict(tensors)
