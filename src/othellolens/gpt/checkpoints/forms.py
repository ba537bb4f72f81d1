"""Which form a checkpoint has, told by its content; and saving in the form that is asked for."""

from pathlib import Path
from typing import Any, Literal

import torch

from ...artifact import CONFIG, new_folder, read_json, refuse_existing, write_file
from ...errors import InputError
from ..model import GPT
from . import mingpt, own, transformerlens
from .weights import read_weights

FINAL = "final.pth"
"""The weights in a folder that TransformerLens' from_pretrained reads, beside a config.json, as in
`Baidicoot/Othello-GPT-Transformer-Lens`."""

_SAID = ("n_layers", "d_model", "n_heads", "d_mlp", "n_ctx", "d_vocab")


def read_checkpoint(path: Path, *, n_heads: int | None = None) -> tuple[GPT, dict[str, Any]]:
    """A model in eval mode on the CPU, and what was saved beside it (nothing, for foreign forms).

    Args:
        path: a folder (our artifact, or config.json + final.pth) or a file of weights in
            TransformerLens' or minGPT's form.
        n_heads: heads a block, where a minGPT file of another width than 512 does not say it.

    Raises:
        InputError: one line on what is wrong with it.
    """
    if not path.is_dir():
        return _read_file(path, n_heads), {}
    config = read_json(path / CONFIG)
    if (path / FINAL).is_file() and "kind" not in config:
        return _read_described(path, config), {}
    return own.read(path)


def save_as(
    model: GPT,
    path: str | Path,
    form: Literal["othellolens", "transformerlens", "mingpt"] = "othellolens",
) -> None:
    """Write a model in one step: a folder, or a state dict as torch.save writes it.

    Args:
        model: as it is; nothing is folded or centred on the way.
        path: a new folder ("othellolens") or a new file.
        form: "transformerlens" loads strictly into a HookedTransformer of this shape, "mingpt" into
            the original code.

    Raises:
        InputError: the path exists, or the form has no place for what the model has.
    """
    path = Path(path)
    if form == "othellolens":
        with new_folder(path) as work:
            own.save_gpt(model, work, name=model.name)
        return
    refuse_existing(path)
    state = mingpt.write(model) if form == "mingpt" else transformerlens.write(model)
    write_file(path, lambda work: torch.save(state, work))


def _read_file(path: Path, n_heads: int | None) -> GPT:
    tensors = read_weights(path)
    if mingpt.fits(tensors):
        return mingpt.read(str(path), tensors, n_heads)
    if transformerlens.fits(tensors):
        return transformerlens.read(str(path), tensors)
    some = ", ".join(sorted(tensors)[:3])
    raise InputError(
        f"{path} is no Othello-GPT: its weights are named {some} ..., and what is read are"
        " TransformerLens' names (embed.W_E) and minGPT's (tok_emb.weight)"
    )


def _read_described(folder: Path, config: dict[str, Any]) -> GPT:
    activation = config.get("act_fn", "gelu")
    if activation != "gelu":
        raise InputError(
            f"{folder / CONFIG} says act_fn {activation!r}; Othello-GPT has gelu: another model"
        )
    heads = config.get("n_heads")
    model = _read_file(folder / FINAL, heads if isinstance(heads, int) and heads > 0 else None)
    shape = model.cfg.to_dict()
    wrong = [
        f"{key} {config[key]}, not {shape[key]}"
        for key in _SAID
        if key in config and config[key] != shape[key]
    ]
    if wrong:
        raise InputError(f"{folder / CONFIG} does not fit {FINAL}: it says {'; '.join(wrong)}")
    return model
