"""Which form a checkpoint has, told by its content; and saving in the form that is asked for."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch

from ...artifact import CONFIG, new_folder, read_json, refuse_existing, write_file
from ...errors import InputError
from ..model import GPT
from . import mingpt, own, transformerlens
from .weights import build, read_weights

FINAL = "final.pth"
"""The weights in a folder that TransformerLens' from_pretrained reads, beside a config.json, as in
`Baidicoot/Othello-GPT-Transformer-Lens`."""

_SAID = {
    "n_layers": "n_layers",
    "d_model": "d_model",
    "n_heads": "n_heads",
    "d_head": "d_head",
    "d_mlp": "d_mlp",
    "n_ctx": "n_ctx",
    "d_vocab": "d_vocab",
    "normalization_type": "normalization",
}
"""What a config.json of TransformerLens says, and our names for it."""
_NO, _NONE = (False, None), (None, -1, -1.0, 0)
_OTHELLO: dict[str, tuple[object, ...]] = {
    "act_fn": ("gelu",),
    "positional_embedding_type": ("standard",),
    "attention_dir": ("causal",),
    "use_attn_scale": (True, None),
    "attn_only": _NO,
    "gated_mlp": _NO,
    "parallel_attn_mlp": _NO,
    "use_local_attn": _NO,
    "use_qk_norm": _NO,
    "use_normalization_before_and_after": _NO,
    "scale_attn_by_inverse_layer_idx": _NO,
    "scale_attn_by_inverse_sqrt_layer_idx": _NO,
    "final_rms": _NO,
    "num_experts": _NONE,
    "attn_scores_soft_cap": _NONE,
    "output_logits_soft_cap": _NONE,
}
"""What it says of an Othello-GPT, where it says it."""


Form: TypeAlias = Literal["othellolens", "transformerlens", "mingpt"]
_FORMS: tuple[Form, ...] = get_args(Form)


def read_checkpoint(path: Path, *, n_heads: int | None = None) -> tuple[GPT, dict[str, Any]]:
    """A model in eval mode on the CPU, and what was saved beside it (nothing, for foreign forms).

    Args:
        path: a folder (our artifact, or config.json + final.pth) or a file of weights in
            TransformerLens' or minGPT's form.
        n_heads: heads a block, where a minGPT file of another than the published shape does not
            say it.

    Raises:
        InputError: one line on what is wrong with it.
    """
    model, config = _read(path, n_heads)
    if n_heads is not None and n_heads != model.cfg.n_heads:
        raise InputError(f"{path} has {model.cfg.n_heads} heads a block, not {n_heads}")
    return model, config


def _read(path: Path, n_heads: int | None) -> tuple[GPT, dict[str, Any]]:
    if not path.is_dir():
        return _read_file(path, n_heads), {}
    if (path / "cfg.json").exists() and not (path / CONFIG).exists():
        raise InputError(f"{path} holds an SAE, no GPT: name the folder of a model")
    config = read_json(path / CONFIG)
    if (path / FINAL).is_file() and "kind" not in config:
        return _read_described(path, config), {}
    return own.read(path)


def save_as(
    model: GPT,
    path: str | Path,
    form: Form = "othellolens",
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
    if form not in _FORMS:
        raise InputError(f"no form {form!r}: choose one of {', '.join(_FORMS)}")
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
    for key, right in _OTHELLO.items():
        if key in config and config[key] not in right:
            raise InputError(
                f"{folder / CONFIG} says {key} {config[key]!r}; Othello-GPT has {right[0]!r}:"
                " another model"
            )
    heads = config.get("n_heads")
    model = _read_file(folder / FINAL, heads if isinstance(heads, int) and heads > 0 else None)
    shape = {**model.cfg.to_dict(), "d_head": model.cfg.d_head}
    wrong = [
        f"{key} {config[key]}, not {shape[ours]}"
        for key, ours in _SAID.items()
        if key in config and config[key] != shape[ours]
    ]
    scale, usual = config.get("attn_scale"), model.cfg.d_head**0.5
    if isinstance(scale, float | int) and scale > 0 and abs(scale - usual) > 1e-3:
        wrong.append(f"attn_scale {scale}, not {usual:.4g}")
    if wrong:
        raise InputError(f"{folder / CONFIG} does not fit {FINAL}: it says {'; '.join(wrong)}")
    eps = config.get("eps", model.cfg.eps)
    if eps == model.cfg.eps:
        return model
    return build(str(folder / CONFIG), replace(model.cfg, eps=eps), model.state_dict())
