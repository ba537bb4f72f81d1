"""Our own form: a folder of config.json (shape, where it came from) and model.safetensors."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...artifact import CONFIG, provenance, read_json, read_tensors, write_json, write_tensors
from ...errors import InputError
from ..model import GPT
from ..shape import GPTConfig, check_shape
from .weights import build

KIND = "gpt"
WEIGHTS = "model.safetensors"


def read(folder: Path) -> tuple[GPT, dict[str, Any]]:
    """The model, and what was saved beside it (plan, games, provenance).

    Raises:
        InputError: a file is missing or damaged, is of another kind, or does not fit (all misfits
            listed).
    """
    config = read_json(folder / CONFIG)
    if config.get("kind") != KIND:
        raise InputError(f"{folder / CONFIG} is of kind {config.get('kind')!r}, no GPT")
    cfg = _shape(folder, config.get("shape"))
    return build(str(folder / WEIGHTS), cfg, read_tensors(folder / WEIGHTS)), config


def save_gpt(model: GPT, folder: Path, *, half: bool = False, **metadata: object) -> None:
    """Write config.json and model.safetensors into a folder, weights first.

    With `half` the weights are rounded to float16, which halves the file; they load as float32.
    """
    state = model.state_dict()
    whole = {key: value.half() if half else value for key, value in state.items()}
    write_tensors(folder / WEIGHTS, whole)
    shape = model.cfg.to_dict()
    config: Mapping[str, object] = {
        "kind": KIND,
        "schema": 1,
        "shape": shape,
        **metadata,
        "provenance": provenance(),
    }
    write_json(folder / CONFIG, config)


def _shape(folder: Path, saved: object) -> GPTConfig:
    known = {field.name for field in fields(GPTConfig)}
    if not isinstance(saved, dict) or set(saved) != known:
        raise InputError(f"{folder / CONFIG} does not give the model's shape ({sorted(known)})")
    try:
        check_shape(saved)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None
    return GPTConfig(**saved)
