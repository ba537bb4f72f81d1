"""Circuits where the answer is known: a move is legal because of its flanking lines.

A legal move has one or more lines: from its empty square over discs of theirs to a disc of mine.
That, and nothing else, makes it legal, so a circuit of its logit should be made of features that
speak of squares of these lines, and of the moves that put discs there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..evaluation.bootstrap import DRAWS, Interval, game_weights, quantiles
from ..othello.boards import Boards
from ..othello.directions import DIRECTIONS
from ..othello.squares import name
from ..othello.truth import options
from .graph import Graph
from .paths import Paths
from .portraits import Portraits


@dataclass(frozen=True)
class OnLine:
    """Shares of the most influential nodes that speak of the true flanking lines, graph by graph;
    beside each what drawing nodes at random would give, exactly."""

    features: Float[Tensor, " graph"]
    """Of features: those whose fact speaks of squares of the lines alone, the move's included."""
    features_by_chance: Float[Tensor, " graph"]
    """The same of features drawn from all that are on in the same layers."""
    beyond: Float[Tensor, " graph"]
    """Of features: those that speak of some square of the lines beyond that of the move."""
    beyond_by_chance: Float[Tensor, " graph"]
    moves: Float[Tensor, " graph"]
    """Of moves that were read: those that put a disc on the lines."""
    moves_by_chance: Float[Tensor, " graph"]
    """The share of all moves that were read."""

    def interval(self, name: str, *, draws: int = DRAWS, seed: int = 0) -> Interval:
        """Mean over graphs with its 95 % interval by bootstrap over graphs."""
        values: Tensor = getattr(self, name)
        kept = values[~values.isnan()].double()
        if not len(kept):
            raise InputError("no graph has such nodes")
        drawn = game_weights(len(kept), draws, seed) @ kept / len(kept)
        return Interval(float(kept.mean()), *quantiles(drawn, 0.95))


def flanking_lines(board: Boards, square: int) -> frozenset[int]:
    """The squares that make a move legal: its own, the discs that it flanks, and those at the ends.

    Args:
        board: one position.
        square: of a legal move there.

    Raises:
        InputError: several positions, or a move that is not legal.
    """
    if len(board) != 1:
        raise InputError(f"{len(board)} positions: flanking lines are of one")
    towards = int(options(board).directions[0, square])
    if not towards:
        raise InputError(f"{name(square)} is not a legal move there: it has no flanking line")
    theirs, found = int(board.theirs[0]), {square}
    for number, direction in enumerate(DIRECTIONS):
        if not towards >> number & 1:
            continue
        there = square + direction.step
        while theirs >> there & 1:
            found.add(there)
            there += direction.step
        found.add(there)
    return frozenset(found)


def on_line(
    graphs: Sequence[Graph], looks: Sequence[Portraits], paths: Sequence[Paths], *, top: int = 10
) -> OnLine:
    """How many of the nodes that feed a legal move speak of what makes it legal.

    Args:
        graphs: of legal moves.
        looks: of the features of each layer.
        paths: of the same histories, for what else was on.
        top: nodes of each kind to look at, the most influential first.

    Raises:
        InputError: a traced move is not legal.
    """
    rows = [_shares(graph, looks, path, top) for graph, path in zip(graphs, paths, strict=True)]
    return OnLine(*torch.tensor(rows).reshape(-1, 6).T.unbind(0))


def _shares(graph: Graph, looks: Sequence[Portraits], paths: Paths, top: int) -> list[float]:
    line = flanking_lines(graph.history.replay()[-1:], graph.square)
    chosen = [(node.layer, node.index) for node in graph.features()[:top]]
    others = {
        layer: [(layer, feature) for feature in paths.active[layer][1].tolist()]
        for layer in {layer for layer, _ in chosen}
    }
    squares = graph.history.moves[0, : paths.plies].tolist()
    moves = [node.index for node in graph.moves()[:top]]

    def mean(values: Sequence[bool | float]) -> float:
        return sum(values) / len(values) if values else float("nan")

    def share(nodes: Sequence[tuple[int, int]], *, beyond: bool) -> float:
        told = [looks[layer].squares(feature) for layer, feature in nodes]
        rest = line - {graph.square}
        return mean([bool(t) and t <= line and (not beyond or bool(t & rest)) for t in told])

    out: list[float] = []
    for beyond in (False, True):
        by_layer = {layer: share(nodes, beyond=beyond) for layer, nodes in others.items()}
        out += [share(chosen, beyond=beyond), mean([by_layer[layer] for layer, _ in chosen])]
    return [*out, mean([s in line for s in moves]), mean([s in line for s in squares])]
