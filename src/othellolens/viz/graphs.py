"""Graphs of features: nodes in layers from the bottom to the top, edges by what passes along."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .boards import Sheet, colour_axis, colour_bar, layout_of, put_boards
from .drawing import (
    ABOVE,
    BELOW,
    LINES,
    Figure,
    furthest,
    graph_objects,
    head_of,
    new_figure,
    plain,
    shown,
    signed,
)
from .panels import Panel

_SWEEPS = 8
_LEVEL, _SLOT, _SIDE = 96, 118, 110
"""Pixels: between layers, between nodes of the widest layer, at the left for the layers' names."""
_BOARD, _GAP, _ROOM = 18, 34, 54
"""Pixels of a square of the small boards, between these, and above them."""
_RIGHT = 130
"""Pixels at the right for the legend and the colour bar."""


@dataclass(frozen=True)
class Node:
    """A part of the model that acts: a feature, a token, a logit, an error."""

    id: str
    label: str
    layer: int
    """Nodes of a layer stand in one row; lower ones beneath."""
    kind: str = "feature"
    """Nodes of a kind have one colour."""
    weight: float = 1.0
    """Its influence: the size of the node."""
    panel: Panel | None = None
    """What it is about, as a board."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        panel = None if self.panel is None else self.panel.to_dict()
        return vars(self) | {"weight": plain([self.weight])[0], "panel": panel}


@dataclass(frozen=True)
class Edge:
    """What one node adds to another."""

    source: str
    target: str
    weight: float

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return vars(self) | {"weight": plain([self.weight])[0]}


def graph_figure(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    *,
    title: str = "",
    named: int = 24,
    boards: int = 0,
    layers: Mapping[int, str] | None = None,
) -> Figure:
    """A graph of features.

    Nodes are as large as their influence, edges as wide and dark as their weight: blue where it is
    positive, red where it is negative. Pointing at a node or the middle of an edge tells the rest.

    Args:
        nodes: in any order.
        edges: between them.
        title: above all.
        named: so many nodes of most influence have their label beside them.
        boards: draw the panels of so many nodes of most influence, in a row beneath.
        layers: names of the layers; "layer 0" and so on by default.

    Raises:
        InputError: no nodes, two of one id, or an edge from or to a node that is not there.
    """
    places = node_places(nodes, edges)
    ranked = sorted(nodes, key=lambda node: -abs(node.weight))
    panels = [_titled(node) for node in ranked if node.panel is not None][:boards]
    head, sheet = _sheet(nodes, len(panels), title)
    floor = head + _LEVEL * len({node.layer for node in nodes})
    figure = new_figure(
        sheet.width, sheet.height, title, **layout_of(_colours(panels, sheet, floor + _ROOM))
    )
    names = {node.layer: f"layer {node.layer}" for node in nodes} | dict(layers or {})
    rows = [names[layer] for layer in sorted({node.layer for node in nodes})]
    figure.update_layout(_graph_axes(sheet, head, floor, rows))
    figure.update_layout(legend={"x": 1, "xanchor": "right", "y": 1 - head / sheet.height})
    figure.add_traces(_edge_traces(edges, places, {n.id: n.label for n in nodes}))
    figure.add_traces(_node_traces(nodes, places, {n.id for n in ranked[:named]}))
    corners = [(_SIDE + i * (8 * _BOARD + _GAP), floor + _ROOM) for i in range(len(panels))]
    put_boards(figure, sheet, panels, corners, first=2)
    return figure


def node_places(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, tuple[float, float]]:
    """Where nodes stand: x from 0 to 1, y the number of their row from the bottom.

    Within its row a node goes where the nodes are that it is joined to (barycentres; Sugiyama et
    al. 1981), so that few edges cross.

    Raises:
        InputError: no nodes, two of one id, or an edge from or to a node that is not there.
    """
    _check(nodes, edges)
    layers = sorted({node.layer for node in nodes})
    rows = [[node.id for node in nodes if node.layer == layer] for layer in layers]
    joined: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for edge in edges:
        joined[edge.source].append((edge.target, abs(edge.weight)))
        joined[edge.target].append((edge.source, abs(edge.weight)))
    x = {id: place for row in rows for id, place in _spread(row).items()}
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wished = {id: _centre(joined[id], x, x[id]) for id in row}
            x |= _spread(sorted(row, key=lambda id: wished[id]))
    return {id: (x[id], float(y)) for y, row in enumerate(rows) for id in row}


def _check(nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
    if not nodes:
        raise InputError("there are no nodes to draw: give one or more")
    ids = {node.id for node in nodes}
    if len(ids) < len(nodes):
        raise InputError("two nodes have the same id: give each its own")
    for edge in edges:
        for end in (edge.source, edge.target):
            if end not in ids:
                raise InputError(f"an edge ends at {end!r}, but there is no such node")


def _spread(row: Sequence[str]) -> dict[str, float]:
    return {id: (place + 0.5) / len(row) for place, id in enumerate(row)}


def _centre(joined: Sequence[tuple[str, float]], x: Mapping[str, float], here: float) -> float:
    """The mean place of what a node is joined to, by weight; where it is, if to nothing."""
    whole = sum(weight for _, weight in joined)
    return sum(x[id] * weight for id, weight in joined) / whole if whole else here


def _titled(node: Node) -> Panel:
    """The node's panel under the node's label."""
    assert node.panel is not None
    return replace(node.panel, title=node.label)


def _sheet(nodes: Sequence[Node], boards: int, title: str) -> tuple[int, Sheet]:
    """Where the graph begins, and the size of the whole."""
    layers = [node.layer for node in nodes]
    widest = max(layers.count(layer) for layer in set(layers))
    wide = max(_SLOT * max(widest, 4), (8 * _BOARD + _GAP) * boards)
    width = _SIDE + wide + _RIGHT + 20
    head, below = head_of(title, width), _ROOM + 8 * _BOARD + 26 if boards else 0
    return head, Sheet(width, head + _LEVEL * len(set(layers)) + below, _BOARD)


def _colours(panels: Sequence[Panel], sheet: Sheet, top: int) -> dict[str, Any]:
    if not panels:
        return {"showscale": False}
    bar = colour_bar(sheet, sheet.width - _RIGHT, top, 8 * _BOARD, "")
    return colour_axis(panels, "diverging") | {"colorbar": bar}


def _graph_axes(sheet: Sheet, head: int, floor: int, rows: Sequence[str]) -> dict[str, Any]:
    both = {"showgrid": False, "zeroline": False, "automargin": False, "fixedrange": True}
    across = {"domain": [_SIDE / sheet.width, 1 - _RIGHT / sheet.width], "range": [0, 1]}
    down = {"domain": [1 - floor / sheet.height, 1 - head / sheet.height], "ticks": ""}
    down |= {"range": [-0.5, len(rows) - 0.5], "tickvals": list(range(len(rows)))}
    return {
        "xaxis": both | across | {"showticklabels": False},
        "yaxis": both | down | {"ticktext": [shown(row, 14) for row in rows]},
    }


def _edge_traces(
    edges: Sequence[Edge], places: Mapping[str, tuple[float, float]], labels: Mapping[str, str]
) -> list[Any]:
    """A line for each edge, the strongest on top, and a point at its middle to be pointed at."""
    far = furthest(plain([edge.weight])[0] for edge in edges)
    ranked = sorted(edges, key=lambda edge: abs(edge.weight))
    lines = [_line(edge, min(abs(edge.weight) / far, 1.0), places) for edge in ranked]
    return [*lines, _middles(edges, places, labels)]


def _line(edge: Edge, share: float, places: Mapping[str, tuple[float, float]]) -> Any:
    x, y = zip(places[edge.source], places[edge.target], strict=True)
    return graph_objects().Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": _colour(edge.weight), "width": 0.6 + 5.4 * share},
        opacity=0.25 + 0.6 * share,
        hoverinfo="skip",
        name="edge",
        showlegend=False,
    )


def _middles(
    edges: Sequence[Edge], places: Mapping[str, tuple[float, float]], labels: Mapping[str, str]
) -> Any:
    ends = [(places[edge.source], places[edge.target]) for edge in edges]
    said = [f"{labels[edge.source]} → {labels[edge.target]}" for edge in edges]
    weights = [signed(weight) for weight in plain(edge.weight for edge in edges)]
    return graph_objects().Scatter(
        x=[(one[0] + other[0]) / 2 for one, other in ends],
        y=[(one[1] + other[1]) / 2 for one, other in ends],
        mode="markers",
        marker={"size": 12, "opacity": 0, "color": [_colour(edge.weight) for edge in edges]},
        text=[f"{shown(words)}: {weight}" for words, weight in zip(said, weights, strict=True)],
        hovertemplate="%{text}<extra></extra>",
        name="weights",
        showlegend=False,
    )


def _colour(weight: float) -> str:
    return ABOVE if weight >= 0 else BELOW


def _node_traces(
    nodes: Sequence[Node], places: Mapping[str, tuple[float, float]], named: set[str]
) -> list[Any]:
    """The nodes, a trace a kind."""
    far = furthest(plain([node.weight])[0] for node in nodes)
    kinds = list(dict.fromkeys(node.kind for node in nodes))
    return [
        _kind([n for n in nodes if n.kind == kind], kind, LINES[i % len(LINES)], far, places, named)
        for i, kind in enumerate(kinds)
    ]


def _kind(
    nodes: Sequence[Node],
    kind: str,
    colour: str,
    far: float,
    places: Mapping[str, tuple[float, float]],
    named: set[str],
) -> Any:
    # The area is what the eye compares.
    sizes = [10 + 20 * min(abs(node.weight) / far, 1.0) ** 0.5 for node in nodes]
    hover = [
        f"{shown(node.label)}<br>{shown(kind)}, influence {signed(plain([node.weight])[0])}"
        for node in nodes
    ]
    return graph_objects().Scatter(
        x=[places[node.id][0] for node in nodes],
        y=[places[node.id][1] for node in nodes],
        mode="markers+text",
        marker={"size": sizes, "color": colour, "opacity": 1, "line": {"color": "white"}},
        text=[shown(node.label, 17) if node.id in named else "" for node in nodes],
        textposition="bottom center",
        textfont={"size": 10},
        cliponaxis=False,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        name=shown(kind),
        showlegend=True,
    )
