"""The activations of one forward pass, by full name or by the shorthand that notebooks use.

The shorthand, and the ways to take a residual stream apart, are those of TransformerLens'
ActivationCache and get_act_name; written from their documentation
(https://transformerlensorg.github.io/TransformerLens/).
"""

import operator
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Literal, NoReturn, SupportsIndex, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .shape import GPTConfig
from .sites import SITES, Site

Key: TypeAlias = str | tuple[str | SupportsIndex | None, ...]
"""`"blocks.6.hook_resid_post"`, `("resid_post", 6)`, `("scale", 4, "ln1")`, `"k6"`."""
Plies: TypeAlias = int | slice | tuple[int, ...] | list[int] | Tensor | None
"""Which plies to keep: one (its axis goes), a slice, those of a list or tensor, or all. A tuple is
(start, stop) or (start, stop, step) of a slice, as in TransformerLens."""

_SYNONYMS: dict[str, str] = {
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "key": "k",
    "query": "q",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_mid": "mid",
    "mlp_post": "post",
}
_INSIDE: dict[str, str] = {
    **dict.fromkeys(("q", "k", "v", "z", "result", "pattern", "attn_scores"), "attn"),
    **dict.fromkeys(("pre", "post", "mid"), "mlp"),
}
_PARTS = {"a": "attn", "attention": "attn", "m": "mlp", "b": "", "block": "", "blocks": ""}
_RUN_TOGETHER = re.compile(r"([a-z_]*[a-z])(\d+)([a-z]\w*)?")


def hook_name(name: str, layer: int | None = None, part: str | None = None) -> str:
    """The full name that a shorthand means, as TransformerLens' get_act_name resolves it.

    Args:
        name: "resid_post", "pattern", "scale", ...; also in one word, "k6" or "scale4ln1".
        layer: of a block, counted from 0; None for what lies outside the blocks.
        part: of the block ("ln1", "ln2", "attn", "mlp"), where the name alone does not say it.
    """
    if layer is None and part is None:
        if "." in name or name.startswith("hook_"):
            return name
        if (match := _RUN_TOGETHER.fullmatch(name)) and name not in SITES:
            name, layer, part = match[1], int(match[2]), match[3]
    if layer is not None and part is None and name in SITES:
        return Site(name, layer).hook_name
    name = _SYNONYMS.get(name, name)
    part = _INSIDE.get(name, _PARTS.get(part or "", part or ""))
    if layer is None and name in ("scale", "normalized"):
        part = "ln_final"
    block = "" if layer is None else f"blocks.{layer}."
    return f"{block}{part}{'.' if part else ''}hook_{name}"


class MissingActivationError(InputError, KeyError):
    """The cache does not hold what was asked for; a KeyError too, so that `in` and `get` work."""

    __str__ = Exception.__str__


class ActivationCache(MutableMapping[Key, Tensor]):
    """Activations by hook name, and what can be added up from them.

    Keys are full names or any shorthand of `hook_name`, e.g. `cache["resid_post", 6]`,
    `cache["pattern", -1]`, `cache["scale", 4, "ln1"]`, `cache["normalized"]`. Iteration gives full
    names. It holds the model's shape and weights, not the model.
    """

    def __init__(
        self,
        cfg: GPTConfig,
        weights: Mapping[str, Tensor],
        activations: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.cfg, self.weights = cfg, weights
        self._held: dict[str, list[Tensor]] = {key: [x] for key, x in (activations or {}).items()}

    def __getitem__(self, key: Key) -> Tensor:
        name = self._full(key)
        if name not in self._held:
            self._missing(name)
        if len(self._held[name]) > 1:
            self._held[name] = [torch.cat(self._held[name])]
        return self._held[name][0]

    def __setitem__(self, key: Key, value: Tensor) -> None:
        self._held[self._full(key)] = [value]

    def add(self, name: str, games: Float[Tensor, "game ..."]) -> None:
        """Put more games behind those that are held at a hook point; joined when it is read."""
        self._held.setdefault(name, []).append(games)

    def __delitem__(self, key: Key) -> None:
        name = self._full(key)
        if name not in self._held:
            self._missing(name)
        del self._held[name]

    def __iter__(self) -> Iterator[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"ActivationCache({', '.join(self._held)})"

    def to(self, device: torch.device | str) -> "ActivationCache":
        """The same with every activation on another device."""
        moved = {name: self[name].to(device) for name in self._held}
        return ActivationCache(self.cfg, self.weights, moved)

    def decompose_resid(
        self,
        layer: int | None = None,
        *,
        mlp_input: bool = False,
        mode: Literal["all", "attn", "mlp"] = "all",
        apply_ln: bool = False,
        pos_slice: Plies = None,
        incl_embeds: bool = True,
        return_labels: bool = False,
    ) -> Tensor | tuple[Tensor, list[str]]:
        """What each component wrote into the stream that block `layer` reads.

        Args:
            layer: None or -1 for the end of the stream; else `resid_pre` of this block.
            mlp_input: up to the MLP of that block, so with its attention (`resid_mid`).
            mode: both kinds of component, or one.
            apply_ln: centre and scale as the layer norm that reads there did.
            pos_slice: plies to keep.
            incl_embeds: with the embeddings of token and ply.
            return_labels: also their names, "embed", "pos_embed", "0_attn_out", "0_mlp_out", ...

        Returns:
            [component, game, ply, d_model]; with mode "all" and the embeddings, its sum over
            components is the stream.

        Raises:
            InputError: a layer that the model does not have, or activations that were not kept.
        """
        end = self._end(layer, mlp_input)
        keys: list[tuple[str, Key]] = []
        if incl_embeds:
            keys = [("embed", "hook_embed"), ("pos_embed", "hook_pos_embed")]
        for block in range(end):
            keys += [(f"{block}_{k}_out", (f"{k}_out", block)) for k in _kinds(mode)]
        if mlp_input and mode != "mlp":
            keys.append((f"{end}_attn_out", ("attn_out", end)))
        return self._stack(keys, end, mlp_input, apply_ln, pos_slice, return_labels)

    def accumulated_resid(
        self,
        layer: int | None = None,
        *,
        incl_mid: bool = False,
        mlp_input: bool = False,
        apply_ln: bool = False,
        pos_slice: Plies = None,
        return_labels: bool = False,
    ) -> Tensor | tuple[Tensor, list[str]]:
        """The stream as it grows: before every block up to `layer`.

        Args:
            layer: None or -1 for all, the last being "final_post"; else up to its `resid_pre`.
            incl_mid: also between attention and MLP of each block.
            mlp_input: end with `resid_mid` of `layer`.
            apply_ln: each as if the layer norm that reads the last of them read it: ln_final, gain
                and bias included, by each stream's own scale; a block's by the scale that it had.
            pos_slice: plies to keep.
            return_labels: also their names, "0_pre", "0_mid", ..., "final_post".

        Returns:
            [step, game, ply, d_model].

        Raises:
            InputError: as in `decompose_resid`.
        """
        end, last = self._end(layer, mlp_input), self.cfg.n_layers
        keys: list[tuple[str, Key]] = []
        for block in range(end + 1):
            if block == last:
                keys.append(("final_post", ("resid_post", block - 1)))
                continue
            keys.append((f"{block}_pre", ("resid_pre", block)))
            if (incl_mid and block < end) or (mlp_input and block == end):
                keys.append((f"{block}_mid", ("resid_mid", block)))
        if not apply_ln or end < last:
            return self._stack(keys, end, mlp_input, apply_ln, pos_slice, return_labels)
        streams = torch.stack([_keep(self[key], pos_slice) for _, key in keys])
        normal = self._read_by_ln_final(streams)
        return (normal, [label for label, _ in keys]) if return_labels else normal

    def stack_head_results(
        self,
        layer: int | None = None,
        *,
        incl_remainder: bool = False,
        apply_ln: bool = False,
        pos_slice: Plies = None,
        return_labels: bool = False,
    ) -> Tensor | tuple[Tensor, list[str]]:
        """What each head of the blocks before `layer` wrote; from `hook_z` and W_O.

        Args:
            layer: None or -1 for all blocks.
            incl_remainder: last, the rest of the stream: embeddings, MLPs and biases.
            apply_ln: as in `decompose_resid`.
            pos_slice: plies to keep.
            return_labels: also their names, "L0H0", "L0H1", ..., "remainder".

        Returns:
            [head, game, ply, d_model], the heads of block 0 first.

        Raises:
            InputError: as in `decompose_resid`; no block before `layer` and no remainder.
        """
        end = self._end(layer, False)
        heads = [x for block in range(end) for x in self._heads(block, pos_slice)]
        labels = [f"L{b}H{h}" for b in range(end) for h in range(self.cfg.n_heads)]
        if incl_remainder:
            whole = self["resid_pre", 0] if end == 0 else self["resid_post", end - 1]
            rest = _keep(whole, pos_slice)
            heads.append(rest - torch.stack(heads).sum(0) if heads else rest)
            labels.append("remainder")
        if not heads:
            raise InputError("no head lies before layer 0: ask for a later layer")
        stack = torch.stack(heads)
        stack = self.apply_ln_to_stack(stack, end, pos_slice=pos_slice) if apply_ln else stack
        return (stack, labels) if return_labels else stack

    def apply_ln_to_stack(
        self,
        residual_stack: Float[Tensor, "component *batch d_model"],
        layer: int | None = None,
        *,
        mlp_input: bool = False,
        pos_slice: Plies = None,
    ) -> Float[Tensor, "component *batch d_model"]:
        """Centre each component, and divide by the scale that the layer norm had in this pass.

        As in TransformerLens, gain and bias of an "LN" model are left out: fold them first
        (`fold_layer_norm`), or the sum of the components is not what was read.

        Args:
            residual_stack: parts of the stream, plies already chosen.
            layer: whose layer norm; None, -1 or n_layers for ln_final.
            mlp_input: that before the MLP (ln2), not that before attention (ln1).
            pos_slice: the plies that were chosen.

        Raises:
            InputError: as in `decompose_resid`.
        """
        end = self._end(layer, mlp_input)
        norm = "ln_final" if end == self.cfg.n_layers else f"blocks.{end}.ln{1 + mlp_input}"
        scale = _keep(self[f"{norm}.hook_scale"], pos_slice)
        return (residual_stack - residual_stack.mean(-1, keepdim=True)) / scale

    def _read_by_ln_final(self, streams: Tensor) -> Tensor:
        gain = (self.weights.get("ln_final.w"), self.weights.get("ln_final.b"))
        return F.layer_norm(streams, (self.cfg.d_model,), *gain, self.cfg.eps)

    def _full(self, key: Any) -> str:
        parts: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        match [x if isinstance(x, str | None) else _number(x) for x in parts]:
            case (str(name),) | (str(name), None):
                return hook_name(name)
            case (str(name), int(layer)):
                return hook_name(name, self._block(layer))
            case (str(name), int(layer), (str() | None) as part):
                return hook_name(name, self._block(layer), part)
            case (str(name), None, (str() | None) as part):
                return hook_name(name, None, part)
            case _:
                raise InputError(f"{key!r} names no activation: write e.g. 'resid_post', 6")

    def _block(self, layer: int) -> int:
        if layer < -self.cfg.n_layers:
            raise InputError(f"layer {layer}: this model has {self.cfg.n_layers} layers")
        return layer + self.cfg.n_layers if layer < 0 else layer

    def _end(self, layer: int | None, mlp_input: bool) -> int:
        layers = self.cfg.n_layers
        end = layers if layer is None or layer == -1 else layer
        if not 0 <= end <= layers - mlp_input:
            raise InputError(
                f"layer {layer}{' with mlp_input' * mlp_input}: this model has {layers} layers,"
                f" 0 to {layers - 1}"
            )
        return end

    def _heads(self, block: int, plies: Plies) -> Sequence[Tensor]:
        weight = self.weights[f"blocks.{block}.attn.W_O"]
        each = torch.einsum("g...hd,hdm->hg...m", _keep(self["z", block], plies), weight)
        return each.unbind(0)

    def _stack(
        self,
        keys: Sequence[tuple[str, Key]],
        end: int,
        mlp_input: bool,
        apply_ln: bool,
        plies: Plies,
        return_labels: bool,
    ) -> Tensor | tuple[Tensor, list[str]]:
        if not keys:
            raise InputError("nothing was written before layer 0: include the embeddings")
        stack = torch.stack([_keep(self[key], plies) for _, key in keys])
        if apply_ln:
            stack = self.apply_ln_to_stack(stack, end, mlp_input=mlp_input, pos_slice=plies)
        return (stack, [label for label, _ in keys]) if return_labels else stack

    def _missing(self, name: str) -> NoReturn:
        held = ", ".join(self._held) or "nothing"
        held = held if len(held) < 200 else f"{held[:200]}..."
        raise MissingActivationError(
            f"the cache does not hold {name!r}: is that its name, and did names_filter and"
            f" stop_at_layer keep it? It holds {held}"
        )


def logit_lens(
    cache: ActivationCache, *, incl_mid: bool = False
) -> Float[Tensor, "step game ply d_vocab"]:
    """What the model would say if each layer were its last (nostalgebraist 2020).

    Every stream of `accumulated_resid` goes through ln_final, scaled by its own size, and the
    unembedding; the last step is the model's logits.

    Raises:
        InputError: the cache lacks a residual stream.
    """
    normal = cache.accumulated_resid(incl_mid=incl_mid, apply_ln=True)
    assert isinstance(normal, Tensor)
    return normal @ cache.weights["unembed.W_U"] + cache.weights["unembed.b_U"]


def _number(x: object) -> object:
    """A layer may be an integer of NumPy or torch as well."""
    try:
        return operator.index(x)  # pyright: ignore
    except TypeError:
        return x


def _kinds(mode: str) -> Sequence[str]:
    if mode not in ("all", "attn", "mlp"):
        raise InputError(f"mode is all, attn or mlp, not {mode!r}")
    return ("attn", "mlp") if mode == "all" else (mode,)


def _keep(x: Tensor, plies: Plies) -> Tensor:
    if isinstance(plies, tuple):
        plies = slice(*plies)
    return x if plies is None else x[:, plies]
