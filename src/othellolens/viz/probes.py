"""What linear readings say of the board, how their directions lie, and how often probes are right.

Plain numbers and readings in, whatever was probed with: this floor knows no probe.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..evaluation.edits import STATES, Reading
from ..gpt.cache import ActivationCache
from ..othello.boards import Boards
from ..othello.squares import SQUARES, name
from .boards import board_figure
from .charts import Curve, Matrix, line_figure, matrix_figure
from .drawing import Figure, plain
from .panels import Panel, one_position, panel, to_move

What: TypeAlias = Literal["logit", "probability"]
"""Of mine less theirs: nats, or a difference of probabilities from -1 to 1."""
Told: TypeAlias = Sequence[float] | Sequence[tuple[float, float, float]]
"""Values, or values with both ends of their intervals."""


def mine_less_theirs(
    reading: Reading, vector: Float[Tensor, " d_in"], what: What = "probability"
) -> Float[Tensor, " 64"]:
    """What a reading of mine, theirs, empty says of each square: mine less theirs.

    Raises:
        InputError: a reading of other states, a vector of another width, or an unknown measure.
    """
    if what not in ("logit", "probability"):
        raise InputError(f"mine less theirs is a logit or a probability: not {what!r}")
    states, _, width = reading.weight.shape
    if states != len(STATES):
        raise InputError(f"the reading at {reading.site} has {states} states of a square, not 3")
    if vector.shape[-1] != width:
        raise InputError(
            f"the reading at {reading.site} is of vectors of {width}, not of {vector.shape[-1]}"
        )
    weight = reading.weight.detach().float().cpu()
    logits = weight @ vector.detach().float().cpu() + reading.bias.detach().float().cpu()
    found = logits.softmax(0) if what == "probability" else logits
    return found[0] - found[1]


def reading_panels(
    cache: ActivationCache,
    readings: Sequence[Reading],
    boards: Boards,
    *,
    game: int = 0,
    what: What = "probability",
    last: int | None = None,
) -> list[Panel]:
    """What readings at several sites say of one position, the true discs drawn: blue is mine.

    Args:
        cache: of a run that has read the game.
        readings: of mine, theirs, empty; a panel each.
        boards: one row, the position; its ply is where to read.
        game: the row of the cache.
        what: logits or probabilities.
        last: square of the last move.

    Raises:
        InputError: not one position, a site that the cache lacks, or a reading of other states.
    """
    ply = int(one_position(boards).at[0, 1])
    found: list[Panel] = []
    for one in readings:
        vectors = one.site.vectors(cache[one.site.hook_name])
        values, text = (
            mine_less_theirs(one, vectors[game, ply], what),
            _right(one, vectors[game, ply], boards),
        )
        found.append(panel(values, str(one.site), boards=boards, last=last, text=text))
    return found


def readings_figure(
    cache: ActivationCache,
    readings: Sequence[Reading],
    boards: Boards,
    *,
    game: int = 0,
    what: What = "probability",
    last: int | None = None,
    columns: int = 4,
    title: str = "",
) -> Figure:
    """`reading_panels` as a figure."""
    panels = reading_panels(cache, readings, boards, game=game, what=what, last=last)
    title = title or f"What is read as mine, with {to_move(boards)}"
    limits = (-1.0, 1.0) if what == "probability" else None
    unit = "mine - theirs, nats" if what == "logit" else "P(mine) - P(theirs)"
    return board_figure(panels, columns=columns, title=title, limits=limits, unit=unit)


def cosines_figure(
    cosines: Float[Tensor, "square square"], *, title: str = "Cosines between squares"
) -> Figure:
    """Cosines of the directions of squares with one another, as `probes.geometry.cosines`.

    Raises:
        InputError: not 64 x 64.
    """
    if tuple(cosines.shape) != (64, 64):
        raise InputError(f"cosines of the shape {tuple(cosines.shape)}: give one for 64 x 64")
    names = tuple(name(square) for square in SQUARES)
    values = tuple(tuple(plain(row)) for row in cosines)
    return matrix_figure(Matrix(names, names, values), title=title, unit="cosine")


def layer_curves(found: Mapping[str, Told], layers: Sequence[str] | None = None) -> list[Curve]:
    """A curve for each kind of probe or floor, over layers.

    Args:
        found: by name, a value for each layer, or a value with the ends of its interval, as
            `(accuracy.cell, *accuracy.interval())`.
        layers: their names; by default they are counted from 0.

    Raises:
        InputError: as many values as there are not layers.
    """
    number = max((len(values) for values in found.values()), default=0)
    names = tuple(str(i) for i in range(number)) if layers is None else tuple(layers)
    return [_curve(kind, names, values) for kind, values in found.items()]


def layers_figure(
    found: Mapping[str, Told],
    *,
    layers: Sequence[str] | None = None,
    baselines: Mapping[str, float] | None = None,
    title: str = "Squares right, by layer",
) -> Figure:
    """Accuracies over layers, with baselines that know no layer as lines; see `layer_curves`."""
    curves = layer_curves(found, layers)
    return line_figure(
        curves, title=title, across="layer", up="share right", levels=baselines, share=True
    )


def squares_figure(
    shares: Mapping[str, Float[Tensor, " square"]],
    *,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    title: str = "Share right, by square",
) -> Figure:
    """Accuracy by square, a board for each name; the scale from the least to the largest.

    Raises:
        InputError: nothing to draw, or not 64 values.
    """
    panels = [panel(values, kind) for kind, values in shares.items()]
    known = [value for one in panels for value in plain(one.values) if value is not None]
    if limits is None and known and min(known) < max(known):
        limits = (min(known), max(known))
    return board_figure(
        panels, columns=columns, title=title, scale="probability", limits=limits, unit="share right"
    )


def ply_curves(shares: Mapping[str, Float[Tensor, " ply"]]) -> list[Curve]:
    """Accuracy by ply, a curve for each name; gaps where it is NaN."""
    return [
        Curve(kind, tuple(float(ply) for ply in range(len(values))), tuple(plain(values)))
        for kind, values in shares.items()
    ]


def plies_figure(
    shares: Mapping[str, Float[Tensor, " ply"]], *, title: str = "Share right, by ply"
) -> Figure:
    """`ply_curves` as a figure.

    Raises:
        InputError: nothing to draw.
    """
    return line_figure(ply_curves(shares), title=title, across="ply", up="share right", share=True)


def _right(reading: Reading, vector: Float[Tensor, " d_in"], boards: Boards) -> str:
    """How many squares the reading's likeliest state is true of."""
    weight, bias = reading.weight.detach().float().cpu(), reading.bias.detach().float().cpu()
    guess = (weight @ vector.detach().float().cpu() + bias).argmax(0)
    true = boards.squares()[0].to(torch.uint8).argmax(0)
    return f"{int((guess == true).sum())} of 64 squares right"


def _curve(kind: str, layers: tuple[str, ...], values: Told) -> Curve:
    rows = [value if isinstance(value, tuple) else (value, value, value) for value in values]
    y, low, high = (tuple(plain(row[i] for row in rows)) for i in range(3))
    known = any(isinstance(value, tuple) for value in values)
    return Curve(kind, layers, y, low if known else None, high if known else None)
