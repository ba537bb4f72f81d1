"""Graphs of features: layers upwards, size by influence, width and colour by weight."""

import json
from typing import Any

import pytest
import torch

from othellolens.errors import InputError
from othellolens.viz import Edge, Node, graph_figure, node_places, panel

NODES = [
    Node("out", "logit of b3", 4, "logit", 4.0),
    Node("a", "d3 is <mine>", 0, weight=1.0, panel=panel(torch.arange(64.0), "panel")),
    Node("b", "c4 flipped", 0, weight=-2.0, panel=panel(torch.zeros(64))),
]
EDGES = [Edge("a", "out", 0.5), Edge("b", "out", -2.0)]


def edges_of(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.name == "edge"]


def test_layers_go_upwards_whatever_their_numbers() -> None:
    places = node_places(NODES, EDGES)
    assert {id: y for id, (_, y) in places.items()} == {"a": 0.0, "b": 0.0, "out": 1.0}
    assert places["out"][0] == 0.5 and {places["a"][0], places["b"][0]} == {0.25, 0.75}
    axis = graph_figure(NODES, EDGES, layers={4: "logits"}).layout.yaxis
    assert list(axis.ticktext) == ["layer 0", "logits"] and list(axis.tickvals) == [0, 1]
    assert axis.range[0] < axis.range[1]


def test_nodes_stand_over_what_they_are_joined_to() -> None:
    low = [Node(f"l{i}", "", 0) for i in range(4)]
    high = [Node(f"h{i}", "", 1) for i in range(4)]
    crossed = [Edge(f"l{i}", f"h{3 - i}", 1.0) for i in range(4)]
    places = node_places(low + high, crossed)
    assert all(places[f"l{i}"][0] == places[f"h{3 - i}"][0] for i in range(4))


def test_edges_are_as_wide_and_coloured_as_they_weigh() -> None:
    figure = graph_figure(NODES, EDGES)
    places = node_places(NODES, EDGES)
    weak, strong = edges_of(figure)
    assert list(zip(strong.x, strong.y, strict=True)) == [places["b"], places["out"]]
    assert strong.line.width == 6.0 and weak.line.width == pytest.approx(0.6 + 5.4 / 4)
    assert (weak.line.color, strong.line.color) == ("#14508c", "#a11a1a")
    (middles,) = (trace for trace in figure.data if trace.name == "weights")
    assert list(middles.text) == [
        "d3 is &lt;mine&gt; → logit of b3: 0.500",
        "c4 flipped → logit of b3: -2.000",
    ]
    assert middles.x[0] == (places["a"][0] + places["out"][0]) / 2


def test_nodes_are_as_large_as_their_influence() -> None:
    figure = graph_figure(NODES, EDGES, named=2)
    traces = {trace.name: trace for trace in figure.data}
    logit, features = traces["logit"], traces["feature"]
    assert list(logit.marker.size) == [30.0]
    assert list(features.marker.size) == pytest.approx([20.0, 10 + 20 * 0.5**0.5])
    assert list(features.text) == ["", "c4 flipped"] and list(logit.text) == ["logit of b3"]
    assert features.customdata[1] == "c4 flipped<br>feature, influence -2.000"


def test_boards_of_the_first_nodes_lie_beneath() -> None:
    figure = graph_figure(NODES, EDGES, boards=1)
    assert [trace.z[0][0] for trace in figure.data if trace.name == "values"] == [0.0]
    figure = graph_figure(NODES, EDGES, boards=5)
    boards = [trace for trace in figure.data if trace.name == "values"]
    assert boards[1].z[4][5] == 44.0 and boards[1].xaxis == "x3"
    words = [words.text for words in figure.layout.annotations]
    assert words == ["c4 flipped", "d3 is &lt;mine&gt;"]
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]
    assert figure.layout.coloraxis.cmax == 63.0
    assert len([t for t in graph_figure(NODES, EDGES).data if t.name == "values"]) == 0


def test_a_graph_is_ready_for_json() -> None:
    saved = json.loads(json.dumps([x.to_dict() for x in [*NODES, *EDGES]], allow_nan=False))
    assert saved[0]["panel"] is None and saved[1]["panel"]["values"][44] == 44.0
    assert saved[4] == {"source": "b", "target": "out", "weight": -2.0}


def test_a_graph_without_edges_is_drawn() -> None:
    assert edges_of(graph_figure(NODES[:1], [])) == []


def test_bad_graphs() -> None:
    with pytest.raises(InputError, match="no nodes to draw"):
        graph_figure([], [])
    with pytest.raises(InputError, match="two nodes have the same id"):
        graph_figure([NODES[0], NODES[0]], [])
    with pytest.raises(InputError, match="an edge ends at 'gone'"):
        graph_figure(NODES, [Edge("gone", "out", 1.0)])
