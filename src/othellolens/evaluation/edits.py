"""Edits: interventions by linear readings of the board, by gradient, and by features.

A linear reading gives each state of each square a logit, x . w + b. Between the state that a
square has and the one that it is to have, the difference of logits v = x . g + c says how far the
reading is from the wanted board; g is the direction along which it changes fastest. Edits differ in
how far they go along it:

* add: by so much that v rises by `scale` nats, wherever it is (Nanda et al. 2023 add a vector);
* reflect: to -scale v, where v is below 0 (scale 1 mirrors at the boundary, as in their notebook);
* set: to v = scale, where it is below that.

Where several squares change at once the least change that does it for all of them is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.sites import Hook, Site
from ..lens import Lens
from .counterfactuals import Changes, Counterfactual, Positions
from .interventions import Hooks, Intervention

How: TypeAlias = Literal["add", "reflect", "set"]
HOWS: tuple[How, ...] = ("add", "reflect", "set")
STATES = ("mine", "theirs", "empty")


@dataclass(frozen=True)
class Reading:
    """A linear reading at a site: x . weight + bias, in nats."""

    site: Site
    weight: Float[Tensor, "state 64 d_in"]
    """States mine, theirs, empty of each square; or one state, a fact of each square."""
    bias: Float[Tensor, "state 64"]


def linear(
    readings: Sequence[Reading],
    *,
    how: How = "set",
    scale: float = 8.0,
    positions: Positions = "last",
) -> Intervention:
    """Move the model's vectors to where linear readings say that the board is the wanted one.

    Args:
        readings: of mine, theirs, empty; one for each site to edit.
        how: how far to go: see the top of this module.
        scale: nats, or for "reflect" a multiple of what is there.
        positions: the last move of each history, or all at which a changed square was taken.
    """
    _check(readings, how, 3)

    def hooks(wanted: Counterfactual) -> Hooks:
        changes = wanted.changes(positions)
        return [(one.site.hook_name, _put(one, changes, how, scale)) for one in readings]

    return hooks


def unset(readings: Sequence[Reading], *, how: How = "set", scale: float = 8.0) -> Intervention:
    """Make a fact of each changed square untrue, at the last move: "subtract flipped", say.

    Args:
        readings: of one fact of each square; one for each site to edit.
        how: as of `linear`; the fact's logit is lowered.
        scale: as of `linear`.
    """
    _check(readings, how, 1)
    lowered = [Reading(one.site, -one.weight, -one.bias) for one in readings]

    def hooks(wanted: Counterfactual) -> Hooks:
        changes = wanted.changes()
        nothing = torch.full_like(changes.old, -1)
        fact = changes._replace(new=torch.zeros_like(changes.new), old=nothing)
        return [(one.site.hook_name, _put(one, fact, how, scale)) for one in lowered]

    return hooks


def by_gradient(
    readers: Mapping[Site, Callable[[Tensor], Tensor]],
    *,
    steps: int = 200,
    lr: float = 0.003,
    margin: float = 8.0,
    keep: float = 0.1,
) -> Intervention:
    """Go down the gradient of a probe's loss until it reads the wanted board (Li et al. 2022).

    Adam on the vector of the last move, at each site in turn. Li et al. take 1,000 steps of 0.001;
    Adam's steps do not shrink with the loss, so a vector here stops once it is read as wanted.

    Args:
        readers: by site, from vectors to logits [row, 3, 64]; any differentiable probe.
        steps: of Adam, at most.
        lr: its step, in units of the root mean square of the vector.
        margin: nats by which the wanted states lead the present ones when a vector is left alone.
        keep: weight of the squares that should stay, against those that should change.
    """

    def hooks(wanted: Counterfactual) -> Hooks:
        old, new = (b.squares().to(torch.uint8).argmax(1) for b in (wanted.before, wanted.after))
        return [
            (site.hook_name, descend(site, read, wanted.last(), old, new))
            for site, read in readers.items()
        ]

    def descend(
        site: Site, read: Callable[[Tensor], Tensor], last: Tensor, old: Tensor, new: Tensor
    ) -> Hook:
        def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            vectors = site.vectors(x)
            rows = torch.arange(len(vectors), device=x.device)
            seen = vectors[rows, last.to(x.device)].detach().float()
            size = seen.pow(2).mean(1, keepdim=True).sqrt()
            old_, new_ = old.to(x.device)[:, None], new.to(x.device)[:, None]
            asked = (old_ != new_)[:, 0]
            weight = torch.where(asked, 1.0, keep)
            with torch.enable_grad():
                shift = torch.zeros_like(seen, requires_grad=True)
                optimizer = torch.optim.Adam([shift], lr=lr)
                for _ in range(steps):
                    logits = read(seen + shift * size)
                    lead = (logits.gather(1, new_) - logits.gather(1, old_))[:, 0]
                    done = ((lead >= margin) | ~asked).all(1, keepdim=True)
                    if bool(done.all()):
                        break
                    loss = F.cross_entropy(logits, new_[:, 0], reduction="none") * weight
                    (shift.grad,) = torch.autograd.grad(loss.sum(), shift)
                    there = shift.detach().clone()
                    optimizer.step()
                    with torch.no_grad():
                        shift.copy_(torch.where(done, there, shift))
            out = vectors.clone()
            out[rows, last.to(x.device)] = (seen + shift.detach() * size).to(out)
            return site.with_vectors(x, out)

        return put

    return hooks


def by_features(
    lens: Lens,
    claims: Mapping[tuple[str, int], Sequence[int]],
    typical: Float[Tensor, " feature"],
) -> Intervention:
    """Turn off the features that claim the old state of a square, turn on those of the new one.

    What the encoder does not rebuild stays as it is: the change of the reconstruction is added.

    Args:
        lens: an autoencoder at its site.
        claims: features by (family, square): "mine", "theirs" and, to erase, "empty".
        typical: the activation to set a feature to: its mean where it is on, say.

    Raises:
        InputError: the encoder cannot rebuild.
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder):
        raise InputError("this encoder has no decode: features cannot be written back")

    def hooks(wanted: Counterfactual) -> Hooks:
        last, changes = wanted.last(), wanted.changes()

        def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            vectors = lens.site.vectors(x)
            rows = torch.arange(len(vectors), device=x.device)
            seen = vectors[rows, last.to(x.device)]
            features = encoder.encode(seen)
            edited = features.clone()
            for case, square, old, new in zip(
                *(part.tolist() for part in (changes.case, *changes[2:])), strict=True
            ):
                off = list(claims.get((STATES[old], square), ()))
                on = list(claims.get((STATES[new], square), ()))
                edited[case, off] = 0
                edited[case, on] = torch.maximum(edited[case, on], typical[on].to(edited))
            out = vectors.clone()
            change = encoder.rebuilt(seen, edited) - encoder.rebuilt(seen, features)
            out[rows, last.to(x.device)] += change
            return lens.site.with_vectors(x, out)

        return [(lens.site.hook_name, put)]

    return hooks


def _check(readings: Sequence[Reading], how: str, states: int) -> None:
    if how not in HOWS:
        raise InputError(f"edits are {', '.join(HOWS)}: not {how!r}")
    if not readings:
        raise InputError("there is no reading to edit by: give one for each site")
    for one in readings:
        if len(one.weight) != states:
            raise InputError(
                f"the reading at {one.site} has {len(one.weight)} states of a square, not {states}"
            )


def _put(reading: Reading, changes: Changes, how: How, scale: float) -> Hook:
    """Change the vectors of every (case, ply) by the least that does what is asked."""
    weight, bias = reading.weight, reading.bias
    place, inverse = torch.stack([changes.case, changes.ply], 1).unique(dim=0, return_inverse=True)
    g = weight[changes.new, changes.square]
    c = bias[changes.new, changes.square]
    known = changes.old >= 0
    g = g - weight[changes.old.clamp(min=0), changes.square] * known[:, None]
    c = c - bias[changes.old.clamp(min=0), changes.square] * known
    # Rows of (place, change at that place), filled up with nothing.
    ranked, index = inverse.sort(stable=True)
    order = torch.zeros_like(inverse)
    order[index] = torch.arange(len(ranked)) - torch.searchsorted(ranked, ranked)
    most = int(order.max()) + 1 if len(order) else 0
    padded = torch.zeros(len(place), most, weight.shape[2]).to(weight)
    offset, there = torch.zeros(len(place), most).to(weight), torch.zeros(len(place), most).bool()
    padded[inverse, order], offset[inverse, order], there[inverse, order] = g, c, True
    gram = padded @ padded.mT + torch.diag_embed((~there).to(padded))

    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        vectors = reading.site.vectors(x)
        if vectors.shape[-1] != weight.shape[2]:
            raise InputError(
                f"the reading at {reading.site} is of vectors of {weight.shape[2]}, but there are"
                f" {vectors.shape[-1]} here: fit it to this model and site"
            )
        if not len(place):
            return x
        case, ply = place.to(x.device).unbind(1)
        seen = vectors[case, ply].float().cpu()
        v = (padded @ seen[:, :, None].to(padded))[:, :, 0] + offset
        rise = {
            "add": torch.full_like(v, scale),
            "reflect": torch.where(v < 0, -(1 + scale) * v, 0),
            "set": (scale - v).clamp(min=0),
        }[how]
        shares = torch.linalg.solve(gram, (rise * there)[:, :, None])
        out = vectors.clone()
        out[case, ply] += (padded.mT @ shares)[:, :, 0].to(out)
        return reading.site.with_vectors(x, out)

    return put
