"""Neurons as boards: what their input weights look for and their output weights write."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import InputError
from .boards import board_figure
from .drawing import LINES, Figure, graph_objects, new_figure, plain, shown
from .panels import Panel, panel


def neuron_panels(
    reads: Mapping[str, Float[Tensor, " square"]], writes: Mapping[str, Float[Tensor, " square"]]
) -> list[Panel]:
    """Weights of a neuron on boards, what it reads before what it writes.

    Args:
        reads: by name, its input weights against a direction of each square: "mine", say.
        writes: its output weights likewise: "move", say. NaN where there is no such direction.

    Raises:
        InputError: not 64 values.
    """
    both = [("reads", reads), ("writes", writes)]
    return [panel(row, f"{verb} {what}") for verb, rows in both for what, row in rows.items()]


def neuron_figure(
    reads: Mapping[str, Float[Tensor, " square"]],
    writes: Mapping[str, Float[Tensor, " square"]],
    *,
    title: str = "",
    columns: int = 4,
    unit: str = "cosine",
) -> Figure:
    """`neuron_panels` in one colour scale: give all in one unit, cosines say.

    Raises:
        InputError: nothing to draw, or not 64 values.
    """
    return board_figure(neuron_panels(reads, writes), columns=columns, title=title, unit=unit)


def spectrum_figure(
    edges: Float[Tensor, " edge"],
    yes: Int64[Tensor, " bin"],
    no: Int64[Tensor, " bin"],
    *,
    names: tuple[str, str] = ("holds", "does not hold"),
    shares: bool = False,
    log: bool = False,
    title: str = "Activation spectrum",
    across: str = "activation",
) -> Figure:
    """How often activations fall in each bin, where a condition holds and where it does not.

    Args:
        edges: of the bins, rising; one more than there are bins.
        yes: positions in each bin at which the condition holds.
        no: at which it does not.
        names: of the two.
        shares: draw shares of all positions of each kind over one another, so that their shapes can
            be compared; otherwise counts, one upon the other.
        log: draw them on a logarithmic axis, over one another too.
        title: above all.
        across: what the activation is of.

    Raises:
        InputError: sizes that do not fit, or edges that do not rise.
    """
    if not len(edges) - 1 == len(yes) == len(no) or len(yes) == 0:
        raise InputError(
            f"{len(edges)} edges and {len(yes)} and {len(no)} counts: give one edge more than bins"
        )
    if bool((edges.diff() <= 0).any()):
        raise InputError("the edges of the bins do not rise: sort them, each once")
    figure = new_figure(820, 420, title, margin={"l": 70, "r": 20, "t": 56, "b": 56}, bargap=0)
    for counts, kind, colour in zip((yes, no), names, LINES, strict=False):
        figure.add_trace(_bins(edges.tolist(), counts, kind, colour, shares, log))
    figure.update_layout(barmode="overlay" if shares or log else "stack")
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_xaxes(title=shown(across), zeroline=False, linecolor="#999")
    figure.update_yaxes(title="share of each" if shares else "positions", zeroline=False)
    figure.update_yaxes(type="log" if log else "linear", exponentformat="power")
    return figure


def _bins(
    edges: Sequence[float],
    counts: Int64[Tensor, " bin"],
    kind: str,
    colour: str,
    shares: bool,
    log: bool,
) -> object:
    whole = max(int(counts.sum()), 1) if shares else 1
    bounds = list(zip(edges, edges[1:], strict=False))
    hover = [
        f"{shown(kind)}, {low:.3g} to {high:.3g}: {count:,}"
        for (low, high), count in zip(bounds, counts.tolist(), strict=True)
    ]
    return graph_objects().Bar(
        x=[(low + high) / 2 for low, high in bounds],
        y=plain(counts / whole),
        width=[high - low for low, high in bounds],
        marker={"color": colour, "line": {"width": 0}},
        opacity=0.6 if shares or log else 0.9,
        name=shown(kind),
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=True,
    )
