"""Attribution: what each component wrote, and what it adds to a logit or to a reading of the board.

The residual stream is a sum. Whatever reads it by a linear map, after a layer norm whose scale is
taken as it was, can be split over what was written: direct logit attribution, and the same for a
probe's direction. The parts add up to the whole, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..evaluation.counterfactuals import Counterfactual
from ..evaluation.edits import Reading, linear
from ..evaluation.interventions import next_logits
from ..gpt.cache import ActivationCache, logit_lens
from ..gpt.model import GPT, Block
from ..gpt.sites import Site
from ..gpt.tokens import SQUARE_OF_TOKEN, token_of, tokens
from ..lens import Lens
from ..othello.boards import Boards
from ..othello.games import Games

By: TypeAlias = Literal["layer", "head", "neuron"]
"""Into what to split: attention and MLP of each layer; heads; or neurons. What is left over, biases
included, are parts of their own."""


_Seen: TypeAlias = Callable[[tuple[str, int] | str], Tensor]


@dataclass(frozen=True)
class Parts:
    """What was written into the residual stream at one ply of each game, part by part."""

    labels: tuple[str, ...]
    vectors: Float[Tensor, "part game d_model"]
    """Their sum over parts is the stream at `site`."""
    site: Site


@dataclass(frozen=True)
class Attribution:
    """What each part adds to what is read."""

    labels: tuple[str, ...]
    values: Float[Tensor, "part game what"]
    constant: Float[Tensor, "game what"]
    """What is read where nothing was written: biases."""

    def total(self) -> Float[Tensor, "game what"]:
        """What is read: the sum of all parts and the constant."""
        return self.values.sum(0) + self.constant

    def top(self, what: int, *, game: int = 0, count: int = 10) -> list[tuple[str, float]]:
        """The parts that add or take off most, with what they add."""
        values = self.values[:, game, what]
        order = values.abs().argsort(descending=True)[:count].tolist()
        return [(self.labels[part], float(values[part])) for part in order]


def last_plies(games: Games, plies: int) -> Int64[Tensor, " game"]:
    """The last ply of each game that a model of so many plies reads."""
    return games.lengths().clamp(max=plies) - 1


@torch.no_grad()
def written(model: GPT, games: Games, *, by: By = "layer", site: Site | None = None) -> Parts:
    """Split the residual stream at the last ply of each game.

    Args:
        model: the player.
        games: histories; the last ply of each is looked at.
        by: into what.
        site: `resid_mid` or `resid_post` of a layer; by default the end of the stream.

    Raises:
        InputError: another site, or an unknown way to split.
    """
    site = site or Site("resid_post", model.cfg.n_layers - 1)
    model.check_site(site)
    if site.kind not in ("resid_mid", "resid_post"):
        raise InputError(f"{site} is no residual stream: take resid_mid or resid_post of a layer")
    ids, rows, ply = _at(model, games)
    _, cache = model.run_with_cache(ids)

    def at(key: tuple[str, int] | str) -> Tensor:
        return cache[key][rows, ply]

    found = [("embed", at("hook_embed")), ("pos_embed", at("hook_pos_embed"))]
    for layer in range(site.layer + 1):
        block: Block = model.blocks[layer]  # pyright: ignore
        found += _attention(block, layer, at, by)
        if layer < site.layer or site.kind == "resid_post":
            found += _mlp(block, layer, at, by)
    return Parts(tuple(name for name, _ in found), torch.stack([x for _, x in found]), site)


@torch.no_grad()
def features_written(lens: Lens, games: Games) -> Parts:
    """Split the stream at a lens's site into its features, its bias and its error.

    Raises:
        InputError: the encoder cannot rebuild, or reads no residual stream.
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder) or lens.target != lens.site:
        raise InputError("only an autoencoder of one site splits what passes it into features")
    if lens.site.kind not in ("resid_mid", "resid_post"):
        raise InputError(f"{lens.site} is no residual stream: take resid_mid or resid_post")
    ids, rows, ply = _at(lens.model, games)
    _, cache = lens.model.run_with_cache(ids, names_filter=lens.site.hook_name)
    x = cache[lens.site.hook_name][rows, ply]
    features = encoder.encode(x)
    base = encoder.decode(torch.zeros_like(features[:1]))
    each = encoder.decode(torch.eye(features.shape[1]).to(features)) - base
    parts = features.T[:, :, None] * each[:, None]
    bias = base.expand_as(x)
    error = x - encoder.decode(features)
    labels = (*(f"feature {i}" for i in range(features.shape[1])), "bias", "error")
    return Parts(labels, torch.cat([parts, bias[None], error[None]]), lens.site)


@torch.no_grad()
def logit_attribution(model: GPT, parts: Parts, whole: Tensor | None = None) -> Attribution:
    """Direct logit attribution: what each part adds to the logits, by way of no later layer.

    The final layer norm is applied with the scale that the whole stream has. At a site before the
    end this is the logit lens, split.

    Args:
        model: whose unembedding reads.
        parts: of the stream.
        whole: the stream, if the parts are not all of it.
    """
    stream = parts.vectors.sum(0) if whole is None else whole
    scale = (stream - stream.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True)
    scale = (scale + model.cfg.eps).sqrt()
    weights = dict(model.named_parameters())
    gain = weights.get("ln_final.w", torch.ones(model.cfg.d_model).to(stream))
    shift = weights.get("ln_final.b", torch.zeros(model.cfg.d_model).to(stream))
    normal = (parts.vectors - parts.vectors.mean(-1, keepdim=True)) / scale * gain
    constant = shift @ model.unembed.W_U + model.unembed.b_U
    values = normal @ model.unembed.W_U
    return Attribution(parts.labels, values, constant.expand(values.shape[1], -1))


def reading_attribution(parts: Parts, reading: Reading) -> Attribution:
    """What each part adds to a linear reading: logits [mine, theirs, empty] x 64, flattened.

    Raises:
        InputError: the reading is of another site.
    """
    if reading.site != parts.site:
        raise InputError(f"the reading is of {reading.site}, the parts add up to {parts.site}")
    values = parts.vectors @ reading.weight.flatten(0, 1).T.to(parts.vectors)
    constant = reading.bias.flatten().expand(values.shape[1], -1)
    return Attribution(parts.labels, values, constant)


def board_lens(cache: ActivationCache, ply: int, *, game: int = 0) -> Float[Tensor, "step 64"]:
    """The logit lens as boards: each layer's probability of a move on each square.

    Centre squares have no move and are NaN.
    """
    likely = logit_lens(cache)[:, game, ply].softmax(-1)
    boards = torch.full((len(likely), 64), torch.nan)
    boards[:, SQUARE_OF_TOKEN[1:]] = likely[:, 1:].detach().float().cpu()
    return boards


def latent_saliency(
    model: GPT,
    history: Games,
    square: int,
    readings: list[Reading],
    *,
    scale: float = 8.0,
) -> Float[Tensor, " 64"]:
    """Latent saliency map: how much the logit of a move falls when each disc is flipped inside.

    Li et al. 2022, section 5. Positive: the move's logit rests on this disc being what it is.

    Args:
        model: the player.
        history: one game up to the position.
        square: of the move whose logit is watched.
        readings: by which to flip: see `linear`.
        scale: nats to which to set.

    Returns:
        Fall of the logit in nats for each square; NaN where there is no disc.

    Raises:
        InputError: more than one history, or no move on that square.
    """
    if len(history) != 1:
        raise InputError(f"{len(history)} histories: a saliency map is of one position")
    token = token_of(square)
    before = history.replay()[-1:]
    taken = [s for s in range(64) if (int(before.mine | before.theirs) >> s) & 1]
    many = Games(history.moves.expand(len(taken), -1), history.origin)
    bits = torch.ones(len(taken), dtype=torch.int64) << torch.tensor(taken)
    at = before.at.expand(len(taken), -1)
    black = before.black.expand(len(taken))
    mine, theirs = before.mine.expand(len(taken)), before.theirs.expand(len(taken))
    wanted = Counterfactual(
        many, Boards(mine, theirs, at, black), Boards(mine ^ bits, theirs ^ bits, at, black)
    )
    edited = next_logits(model, wanted, linear(readings, scale=scale))
    clean = next_logits(model, wanted[:1])
    found = torch.full((64,), torch.nan)
    found[torch.tensor(taken)] = (clean - edited)[:, token]
    return found


def _at(model: GPT, games: Games) -> tuple[Tensor, Tensor, Tensor]:
    if not len(games):
        raise InputError("there are no games to look at")
    ply = last_plies(games, model.cfg.n_ctx)
    ids = tokens(games)[:, : int(ply.max()) + 1].to(model.device)
    return ids, torch.arange(len(games)).to(model.device), ply.to(model.device)


def _attention(block: Block, layer: int, read: _Seen, by: str) -> list[tuple[str, Tensor]]:
    if by == "layer":
        return [(f"L{layer} attention", read(("attn_out", layer)))]
    if by not in ("head", "neuron"):
        raise InputError(f"split by layer, head or neuron: not {by!r}")
    z, bias = read(("z", layer)), block.attn.b_O
    heads = torch.einsum("ghd,hdm->hgm", z, block.attn.W_O)
    if by == "neuron":
        return [(f"L{layer} attention", heads.sum(0) + bias)]
    return [(f"L{layer}H{h}", x) for h, x in enumerate(heads)] + [
        (f"L{layer} b_O", bias.expand_as(heads[0]))
    ]


def _mlp(block: Block, layer: int, read: _Seen, by: str) -> list[tuple[str, Tensor]]:
    if by != "neuron":
        return [(f"L{layer} MLP", read(("mlp_out", layer)))]
    post = read(("mlp_post", layer))
    each = post.T[:, :, None] * block.mlp.W_out[:, None]
    bias = block.mlp.b_out.expand(len(post), -1)
    return [(f"L{layer}N{n}", x) for n, x in enumerate(each)] + [(f"L{layer} b_out", bias)]
