"""Neurons: what those of an MLP read and write, as boards, and the boards on which they fire most.

Weights in the basis of a probe and of the unembedding, as in the Othello circuits notebook beside
Nanda et al. 2023 (https://arxiv.org/abs/2309.00941), but no weight is changed. By what rule neurons
fire is in `rules.py`. What looks at activations takes anything that reads features:
`neurons_of(model, layer)`, or a lens with an SAE alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..encoder import Encoder
from ..errors import InputError
from ..evaluation.edits import Reading
from ..gpt.model import GPT, Block
from ..gpt.sites import Site
from ..gpt.tokens import SQUARE_OF_TOKEN
from ..lens import Lens, Reads
from ..othello.boards import Boards
from ..othello.games import Games
from ..othello.squares import CENTRE, PLAYABLE


class _AsTheyAre(Encoder):
    d_in = None

    def encode(self, x: Float[Tensor, "... position d_in"]) -> Float[Tensor, "... position d_in"]:
        return x


def neurons_of(model: GPT, layer: int, *, watch: Callable[[int], object] = lambda _: None) -> Lens:
    """Reads the neurons of a layer's MLP behind their GELU: feature n is neuron n.

    Raises:
        InputError: the model has no such layer.
    """
    return Lens(model, Site("mlp_post", layer), _AsTheyAre(), watch)


# Weights as boards


@dataclass(frozen=True)
class Share:
    """How much of some vectors lies in the span of some directions."""

    values: Float[Tensor, " vector"]
    """Of each vector the share of its squared norm, 0 to 1; 0 for a vector of 0."""
    rank: int
    """Dimensions of the span."""
    chance: float
    """What a random vector has on average: rank / d_model."""


def span_share(
    vectors: Float[Tensor, "vector d_model"],
    directions: Float[Tensor, "direction d_model"],
    *,
    tolerance: float = 1e-4,
) -> Share:
    """The share of each vector's squared norm within the span of directions.

    Args:
        vectors: any.
        directions: need be neither of unit length nor independent.
        tolerance: singular values below this share of the largest are no dimension of the span.

    Raises:
        InputError: a direction is not finite.
    """
    if not bool(directions.isfinite().all()):
        raise InputError("a direction is not finite: leave squares without one out")
    _, sizes, axes = torch.linalg.svd(directions.double(), full_matrices=False)
    basis = axes[sizes > tolerance * sizes[:1].clamp(min=1e-30)]
    inside = (vectors.double() @ basis.T).pow(2).sum(1)
    whole = vectors.double().pow(2).sum(1).clamp(min=1e-30)
    return Share((inside / whole).float(), len(basis), len(basis) / vectors.shape[1])


@dataclass(frozen=True)
class NeuronBoards:
    """What every neuron of a layer reads and writes. Boards of cosines: -1 to 1, no unit."""

    layer: int
    w_in: Float[Tensor, "neuron d_model"]
    """See `input_weights`."""
    w_out: Float[Tensor, "neuron d_model"]
    in_colour: Float[Tensor, "neuron 64"]
    """Cosine of w_in with the direction of mine less theirs: what makes the neuron fire."""
    in_empty: Float[Tensor, "neuron 64"]
    """The same with empty less the mean of mine and theirs; NaN in the centre, never empty."""
    out_colour: Float[Tensor, "neuron 64"]
    """Cosine of w_out with these directions behind the layer: what the neuron makes be read."""
    out_empty: Float[Tensor, "neuron 64"]
    logits: Float[Tensor, "neuron 64"]
    """What one unit of activation adds to the logit of each move, less the mean over moves, by way
    of no later layer: nats where the final layer norm divides by 1. NaN in the centre: no move."""
    in_share: Share
    """Of w_in in the span of the directions that are read."""
    out_share: Share
    """Of w_out in the span of those behind the layer."""
    logit_share: Share
    """Of w_out in the span of the unembedding."""


@torch.no_grad()
def neuron_boards(
    model: GPT, layer: int, reading_in: Reading, reading_out: Reading
) -> NeuronBoards:
    """The weights of a layer's neurons in the basis of two readings and of the unembedding.

    Args:
        model: the player; its weights stay as they are.
        layer: whose MLP.
        reading_in: of mine, theirs, empty at resid_mid of the layer, the stream that it reads.
        reading_out: the same at resid_post of the layer, to which it adds.

    Raises:
        InputError: no such layer, or readings of other sites, states or widths.
    """
    ins = _directions(model, reading_in, Site("resid_mid", layer))
    outs = _directions(model, reading_out, Site("resid_post", layer))
    w_in, w_out = input_weights(model, layer), output_weights(model, layer)
    moves = unembedding(model)
    logits = torch.full((len(w_out), 64), torch.nan)
    logits[:, SQUARE_OF_TOKEN[1:]] = w_out @ moves.T
    return NeuronBoards(
        layer,
        w_in,
        w_out,
        _cosines(w_in, ins[0]),
        _cosines(w_in, ins[1]),
        _cosines(w_out, outs[0]),
        _cosines(w_out, outs[1]),
        logits,
        span_share(w_in, torch.cat([ins[0], ins[1][list(PLAYABLE)]])),
        span_share(w_out, torch.cat([outs[0], outs[1][list(PLAYABLE)]])),
        span_share(w_out, moves),
    )


@torch.no_grad()
def input_weights(model: GPT, layer: int) -> Float[Tensor, "neuron d_model"]:
    """What each neuron reads off the stream: W_in with ln2's gain, less its mean over d_model.

    The layer norm takes its mean off whatever it reads, so the mean of a weight counts for nothing.
    """
    block = _block(model, layer)
    gained = block.mlp.W_in * block.ln2.w[:, None] if block.ln2.affine else block.mlp.W_in
    return (gained - gained.mean(0)).T.float().cpu()


def output_weights(model: GPT, layer: int) -> Float[Tensor, "neuron d_model"]:
    """What one unit of each neuron's activation adds to the stream; a copy."""
    return _block(model, layer).mlp.W_out.detach().float().cpu().clone()


@torch.no_grad()
def unembedding(model: GPT) -> Float[Tensor, "60 d_model"]:
    """What raises each move's logit above the mean of all, in the order of tokens 1 to 60.

    ln_final's gain is folded in, and the mean over d_model, which that norm does not see, is off.
    """
    weight = model.unembed.W_U[:, 1:]
    gained = weight * model.ln_final.w[:, None] if model.ln_final.affine else weight
    gained = gained - gained.mean(0)
    return (gained - gained.mean(1, keepdim=True)).T.float().cpu()


def _block(model: GPT, layer: int) -> Block:
    model.check_site(Site("mlp_post", layer))
    return model.blocks[layer]  # pyright: ignore


def _directions(
    model: GPT, reading: Reading, site: Site
) -> tuple[Float[Tensor, "64 d_model"], Float[Tensor, "64 d_model"]]:
    """Mine less theirs; and empty less their mean, NaN in the centre."""
    model.check_site(site)
    if reading.site != site:
        raise InputError(f"the reading is of {reading.site}: take one of {site}")
    states, _, width = reading.weight.shape
    if states != 3 or width != model.cfg.d_model:
        raise InputError(
            f"the reading at {site} has {states} states and reads vectors of {width}: take one of"
            f" mine, theirs, empty for this model, whose stream is {model.cfg.d_model} wide"
        )
    mine, theirs, empty = reading.weight.detach().float().cpu()
    empty = empty - (mine + theirs) / 2
    empty[list(CENTRE)] = torch.nan
    return mine - theirs, empty


def _cosines(
    one: Float[Tensor, "row d_model"], other: Float[Tensor, "column d_model"]
) -> Float[Tensor, "row column"]:
    return F.normalize(one) @ F.normalize(other).T


@dataclass(frozen=True)
class Top:
    """Where a neuron fires most, strongest first."""

    values: Float[Tensor, " position"]
    boards: Boards


def top_boards(
    reads: Reads, neurons: Sequence[int], games: Games, count: int = 3
) -> tuple[Top, ...]:
    """Of each game the strongest position, of equal boards the strongest, and of these the top.

    Fewer than `count` where a neuron is above 0 at fewer. Memory: one batch of features.

    Args:
        reads: `neurons_of(model, layer)`, or another lens.
        neurons: which features.
        games: to look through, once.
        count: positions a neuron.

    Raises:
        InputError: there is no such neuron, there are no games, or `count` is not positive.
    """
    if count < 1:
        raise InputError(f"{count} boards: ask for 1 or more")
    found: dict[int, Top] = {}
    for read in reads.read(games):
        for n, x in zip(neurons, columns(read.features, neurons).T, strict=True):
            found[n] = _strongest(found.get(n), Top(x, read.boards), count)
    if not len(games):
        raise InputError("there are no games to look at")
    return tuple(found[n] for n in neurons)


def _strongest(kept: Top | None, new: Top, count: int) -> Top:
    """Exact in any batches of whole games: what is beaten here stays beaten."""
    pool = new if kept is None else _joined(kept, new)
    chosen, games, seen = list[int](), set[int](), set[tuple[int, int]]()
    for row in pool.values.argsort(descending=True, stable=True).tolist():
        if len(chosen) == count or not float(pool.values[row]) > 0:
            break
        game = int(pool.boards.at[row, 0])
        board = int(pool.boards.mine[row]), int(pool.boards.theirs[row])
        if game not in games and board not in seen:
            chosen.append(row)
            seen.add(board)
        games.add(game)
    return Top(pool.values[chosen], pool.boards[torch.tensor(chosen, dtype=torch.int64)])


def _joined(one: Top, other: Top) -> Top:
    a, b = one.boards, other.boards
    parts = (torch.cat([getattr(a, f.name), getattr(b, f.name)]) for f in fields(Boards))
    return Top(torch.cat([one.values, other.values]), Boards(*parts))


def columns(
    features: Float[Tensor, "position feature"], neurons: Sequence[int] | None
) -> Float[Tensor, "position neuron"]:
    """Of some neurons alone, on the CPU."""
    most = features.shape[1]
    for n in neurons or ():
        if not 0 <= n < most:
            raise InputError(f"there is no neuron {n}: this layer has {most}, 0 to {most - 1}")
    chosen = features if neurons is None else features[:, list(neurons)]
    return chosen.detach().float().cpu()
