"""Othello-GPT, whole, in one file: a pre-norm GPT with the names of TransformerLens.

Parameters and hook points are named as in HookedTransformer, so published state dicts load key for
key. Architecture: Li et al. 2023 (https://arxiv.org/abs/2210.13382), after GPT-2.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import InputError
from .cache import ActivationCache
from .inputs import check_ids, check_layers, check_stream
from .naming import NamesFilter, named
from .shape import GPTConfig
from .sites import Hook, HookPoint, Site
from .stacked import StackedWeights

_GAMES_AT_ONCE = 64


class LayerNorm(nn.Module):
    """x minus its mean over d_model, over its root mean square; LN adds a gain and a bias."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.eps = cfg.eps
        self.affine = cfg.normalization == "LN"
        if self.affine:
            self.w = nn.Parameter(torch.ones(cfg.d_model))
            self.b = nn.Parameter(torch.zeros(cfg.d_model))
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        if not self.affine:
            return self.normalized(x)
        if self.hook_scale.hooks or self.hook_normalized.hooks:
            return self.normalized(x) * self.w + self.b
        return F.layer_norm(x, x.shape[-1:], self.w, self.b, self.eps)

    def normalized(self, x: Tensor) -> Tensor:
        """Before gain and bias: what `hook_normalized` sees, as in TransformerLens 3.9 and 4.3."""
        if not self.hook_scale.hooks:
            return self.hook_normalized(F.layer_norm(x, x.shape[-1:], eps=self.eps))
        x = x - x.mean(-1, keepdim=True)
        scale = (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()
        scale = self.hook_scale(_editable(scale))
        return self.hook_normalized(x / scale)


class Attention(nn.Module):
    """Causal self-attention; W_Q, W_K, W_V [head, d_model, d_head], W_O [head, d_head, d_model]."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.cfg = cfg
        heads, d_head, d_model = cfg.n_heads, cfg.d_head, cfg.d_model
        # Stored so that [d_model, (head d_head)] is a view: one product for all heads, no copy.
        self.W_Q, self.W_K, self.W_V = (
            nn.Parameter(torch.empty(d_model, heads, d_head).permute(1, 0, 2)) for _ in range(3)
        )
        self.W_O = nn.Parameter(torch.empty(heads, d_head, d_model))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(heads, d_head)) for _ in range(3))
        self.b_O = nn.Parameter(torch.zeros(d_model))
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z, self.hook_result = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply d_model"]:
        return self.out(self.z(x))

    def z(self, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply head d_head"]:
        """What each head reads off the moves that it looks at, before W_O."""
        q, k, v = self.queries_keys_values(x)
        if self.hook_attn_scores.hooks or self.hook_pattern.hooks or _explicit_is_faster(q):
            z = self._explicit(q, k, v)
        else:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.hook_z(z)

    def out(self, z: Float[Tensor, "game ply head d_head"]) -> Float[Tensor, "game ply d_model"]:
        """What the heads add to the residual stream."""
        if self.hook_result.hooks:
            result = self.hook_result(torch.einsum("gphd,hdm->gphm", z, self.W_O))
            return result.sum(-2) + self.b_O
        return z.flatten(-2) @ self.W_O.flatten(0, 1) + self.b_O

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[game, ply, head, d_head] each, of a normalised residual stream."""
        weight = torch.cat([flat(w) for w in (self.W_Q, self.W_K, self.W_V)], dim=1)
        bias = torch.cat([b.flatten() for b in (self.b_Q, self.b_K, self.b_V)])
        mixed = x @ weight + bias
        mixed = mixed.unflatten(-1, (3, self.cfg.n_heads, self.cfg.d_head))
        q, k, v = mixed.unbind(-3)
        if self.hook_q.hooks or self.hook_k.hooks or self.hook_v.hooks:
            # Unbound views cannot be edited in place under gradients; these can.
            q, k, v = (mixed[..., part, :, :] for part in range(3))
        return self.hook_q(q), self.hook_k(k), self.hook_v(v)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **rest: Any
    ) -> None:
        for buffer in ("mask", "IGNORE"):  # HookedTransformer's, which hold no weights
            state_dict.pop(f"{prefix}{buffer}", None)
        super()._load_from_state_dict(state_dict, prefix, *args, **rest)

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        plies = q.shape[2]
        future = torch.full((plies, plies), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
        scores = self.hook_attn_scores(q @ k.transpose(-1, -2) * self.cfg.d_head**-0.5 + future)
        pattern = scores.softmax(-1)
        pattern = self.hook_pattern(_editable(pattern) if self.hook_pattern.hooks else pattern)
        return (pattern.to(v.dtype) @ v).transpose(1, 2)


def _editable(x: Tensor) -> Tensor:
    # Some operations need their own result for the way back: an edit in place must not reach it.
    return x.clone() if x.requires_grad and torch.is_grad_enabled() else x


def _explicit_is_faster(q: Tensor) -> bool:
    # The backward pass of PyTorch's fused attention on the CPU took two thirds of a bf16 training
    # step of `mini`; plain products made the whole step three times as fast (make bench).
    return q.device.type == "cpu" and q.requires_grad and torch.is_grad_enabled()


def flat(weight: Float[Tensor, "head d_model d_head"]) -> Float[Tensor, "d_model head_d_head"]:
    """All heads of W_Q, W_K or W_V side by side; a view, as `Attention` stores them."""
    return weight.permute(1, 0, 2).flatten(1)


class MLP(nn.Module):
    """W_in [d_model, d_mlp], exact GELU, W_out [d_mlp, d_model]."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.W_in = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(cfg.d_mlp))
        self.W_out = nn.Parameter(torch.empty(cfg.d_mlp, cfg.d_model))
        self.b_out = nn.Parameter(torch.zeros(cfg.d_model))
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply d_model"]:
        pre = self.hook_pre(x @ self.W_in + self.b_in)
        return self.hook_post(F.gelu(pre)) @ self.W_out + self.b_out


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.ln1, self.attn = LayerNorm(cfg), Attention(cfg)
        self.ln2, self.mlp = LayerNorm(cfg), MLP(cfg)
        self.hook_resid_pre, self.hook_resid_mid = HookPoint(), HookPoint()
        self.hook_resid_post = HookPoint()
        self.hook_attn_out, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(
        self, resid: Float[Tensor, "game ply d_model"]
    ) -> Float[Tensor, "game ply d_model"]:
        resid = self.hook_resid_pre(resid)
        resid = self.hook_resid_mid(resid + self.hook_attn_out(self.attn(self.ln1(resid))))
        return self.hook_resid_post(resid + self.hook_mlp_out(self.mlp(self.ln2(resid))))


class Embed(nn.Module):
    """W_E [d_vocab, d_model]: what a move adds to the residual stream."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(cfg.d_vocab, cfg.d_model))


class PosEmbed(nn.Module):
    """W_pos [n_ctx, d_model]: what a ply adds to it."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(cfg.n_ctx, cfg.d_model))


class Unembed(nn.Module):
    """W_U [d_model, d_vocab] and b_U: from the residual stream to logits."""

    def __init__(self, cfg: GPTConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(cfg.d_model, cfg.d_vocab))
        self.b_U = nn.Parameter(torch.zeros(cfg.d_vocab))
        self.hook_in, self.hook_out = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "game ply d_model"]) -> Float[Tensor, "game ply d_vocab"]:
        return self.hook_out(self.hook_in(x) @ self.W_U + self.b_U)


class GPT(StackedWeights):
    """The transformer. Reads moves 0..t and predicts move t+1.

    Weights are drawn from a normal distribution of standard deviation 0.02 (GPT-2), those that
    write into the residual stream divided by sqrt(2 n_layers).
    """

    def __init__(self, cfg: GPTConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.cfg = cfg
        self.name = "unnamed"
        """What `load_gpt` loaded it by; encoders that are made on it keep this name."""
        self.embed, self.pos_embed = Embed(cfg), PosEmbed(cfg)
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layers))
        self.ln_final = LayerNorm(cfg)
        self.unembed = Unembed(cfg)
        self._initialise(seed)
        self._points = dict(self._named_points())

    def _initialise(self, seed: int) -> None:
        if self.device.type == "meta":
            return
        generator = torch.Generator().manual_seed(seed)
        for key, weight in self.named_parameters():
            name = key.rpartition(".")[2]
            if name.startswith("W_"):
                shrink = (2 * self.cfg.n_layers) ** 0.5 if name in ("W_O", "W_out") else 1.0
                # Drawn contiguous: the numbers must not depend on how a weight lies in memory.
                drawn = torch.randn(weight.shape, generator=generator)
                weight.data.copy_(drawn * (0.02 / shrink))

    def _named_points(self) -> Iterator[tuple[str, HookPoint]]:
        for name, module in self.named_modules():
            if isinstance(module, HookPoint):
                module.name = name
                yield name, module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def hook_names(self) -> tuple[str, ...]:
        """Every place that can be read or edited."""
        return tuple(self._points)

    def forward(
        self,
        tokens: Int[Tensor, "*game ply"] | Float[Tensor, "game ply d_model"],
        stop_at_layer: int | None = None,
        start_at_layer: int | None = None,
    ) -> Float[Tensor, "game ply out"]:
        """Logits [game, ply, d_vocab]; row t predicts move t+1.

        Args:
            tokens: ids 0..60, at most n_ctx plies; [ply] is read as one game. With
                `start_at_layer` a residual stream.
            stop_at_layer: run only the blocks before this one and return the residual stream that
                it would read, [game, ply, d_model]; negative counts from the end.
            start_at_layer: run only this block and those behind it, on the residual stream that it
                reads; negative counts from the end, n_layers is the end itself.

        Raises:
            InputError: an id, a length or a layer that the model does not have.
        """
        if start_at_layer is not None:
            check_layers(self.cfg, start_at_layer=start_at_layer, stop_at_layer=stop_at_layer)
            check_stream(self.cfg, tokens)
            resid = tokens
        else:
            if not torch.compiler.is_compiling():
                self.check_input(tokens, stop_at_layer)
            tokens = tokens[None] if tokens.dim() == 1 else tokens
            plies = tokens.shape[1]
            embedded = self.hook_embed(self.embed.W_E[tokens])
            positions = self.pos_embed.W_pos[:plies].expand(len(tokens), -1, -1)
            if self.hook_pos_embed.hooks:
                positions = positions.clone()  # a hook may edit it in place; it is the weight
            resid = embedded + self.hook_pos_embed(positions)
        for block in self.blocks[start_at_layer:stop_at_layer]:
            resid = block(resid)
        if stop_at_layer is not None:
            return resid
        return self.unembed(self.ln_final(resid))

    def check_input(self, tokens: Tensor, stop_at_layer: int | None = None) -> None:
        """Refuse what the model cannot read.

        Raises:
            InputError: an id, a length or a layer that the model does not have.
        """
        check_ids(self.cfg, tokens)
        check_layers(self.cfg, stop_at_layer=stop_at_layer)

    @contextmanager
    def hooks(self, fwd_hooks: Sequence[tuple[NamesFilter, Hook]]) -> Generator["GPT"]:
        """Within the block, put each function on the points that its name or filter means.

        None means every point but `attn.hook_result`; see `run_with_cache`. However the block ends,
        the functions are off again.

        Raises:
            InputError: a name that no hook point has.
        """
        placed: list[tuple[HookPoint, Hook]] = []
        try:
            for names, hook in fwd_hooks:
                for name in named(self._points, names):
                    self._points[name].hooks.append(hook)
                    placed.append((self._points[name], hook))
            yield self
        finally:
            for point, hook in reversed(placed):
                point.take_off(hook)

    def run_with_hooks(
        self,
        tokens: Int[Tensor, "*game ply"] | Float[Tensor, "game ply d_model"],
        fwd_hooks: Sequence[tuple[NamesFilter, Hook]] = (),
        stop_at_layer: int | None = None,
        start_at_layer: int | None = None,
    ) -> Tensor:
        """One forward pass with functions put on hook points; see `hooks` and `forward`."""
        with self.hooks(fwd_hooks):
            return self(tokens, stop_at_layer, start_at_layer)

    def run_with_cache(
        self,
        tokens: Int[Tensor, "*game ply"],
        names_filter: NamesFilter = None,
        stop_at_layer: int | None = None,
    ) -> tuple[Tensor, ActivationCache]:
        """One forward pass that keeps the activations at the points that `names_filter` means.

        Args:
            tokens: as in `forward`.
            names_filter: a hook name, several, a predicate on names, or None for every point but
                `attn.hook_result`, which alone would be n_heads times a residual stream a layer.
            stop_at_layer: as in `forward`.

        Where no gradients are kept, many games pass through in parts, which the cache joins when
        an activation is read: the memory of each part is still at hand, so that the time grows with
        the games and no faster.

        Returns:
            The logits (or residual stream) and the activations; see `ActivationCache`.

        Raises:
            InputError: as in `hooks` and `forward`.
        """
        cache = ActivationCache(self.cfg, dict(self.named_parameters()))

        def keep(x: Tensor, hook: HookPoint) -> None:
            cache.add(hook.name, x)

        whole = torch.is_grad_enabled() or any(point.hooks for point in self._points.values())
        parts = [tokens] if whole else tokens.split(_GAMES_AT_ONCE)
        with self.hooks([(names_filter, keep)]):
            out = [self(part, stop_at_layer) for part in parts]
        return (out[0] if len(out) == 1 else torch.cat(out)), cache

    def check_site(self, site: Site) -> None:
        """Refuse a site that this model does not have.

        Raises:
            InputError: the layer or the head is out of range.
        """
        if site.layer >= self.cfg.n_layers:
            raise InputError(
                f"site {site}: this model has {self.cfg.n_layers} layers,"
                f" 0 to {self.cfg.n_layers - 1}"
            )
        if site.head is not None and site.head >= self.cfg.n_heads:
            raise InputError(
                f"site {site}: this model has {self.cfg.n_heads} heads, 0 to {self.cfg.n_heads - 1}"
            )

    def width(self, site: Site) -> int:
        """Length of the vectors at a site."""
        self.check_site(site)
        if site.kind == "z":
            return self.cfg.d_head * (self.cfg.n_heads if site.head is None else 1)
        return self.cfg.d_mlp if site.kind in ("mlp_pre", "mlp_post") else self.cfg.d_model


def untrained(model: GPT, *, seed: int) -> GPT:
    """A model of the same shape with fresh weights: the floor under every measurement."""
    fresh = GPT(model.cfg, seed=seed)
    fresh.name = f"{model.name}, untrained with seed {seed}"
    return fresh.to(model.device).eval()
