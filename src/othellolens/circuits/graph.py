"""Attribution graphs: through which features a model comes to one prediction.

After Ameisen et al. 2025 (https://transformer-circuits.pub/2025/attribution-graphs/methods.html).
Nodes are the features that are on at each ply, the errors of the encoders, the moves that were read
and one logit. An edge is what a source adds to its target by direct paths: source activation x
(gradient of the target along paths that pass by no other node).

With transcoders the paths are linear: attention patterns and the scales of layer norms are held as
they were and MLPs are cut, so that the edges into a node and a constant add up to it exactly. With
SAEs of the residual stream edges go from one layer to the next and are first-order, through the
block as it is (Marks et al. 2024, https://arxiv.org/abs/2403.19647).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import InputError
from ..gpt.tokens import SQUARE_OF_TOKEN, token_of, tokens
from ..othello.games import Games
from ..othello.squares import name
from .paths import Paths
from .replacement import Kept, Replacement

NodeKind: TypeAlias = Literal["feature", "error", "move", "logit"]


@dataclass(frozen=True)
class Node:
    """A node of a graph."""

    kind: NodeKind
    layer: int
    """Of a feature or an error; -1 of a move, n_layers of the logit."""
    ply: int
    index: int
    """The feature's number; the square of a move or of the logit; -1 of an error."""
    value: float
    """Activation, or the logit above the mean of all moves; 0 of an error or a move."""
    influence: float
    """Share of what reaches the logit that passes by this node, signs aside; 1 for the logit."""

    def __str__(self) -> str:
        if self.kind == "feature":
            return f"L{self.layer} feature {self.index} at ply {self.ply}"
        if self.kind == "error":
            return f"L{self.layer} error at ply {self.ply}"
        if self.kind == "move":
            return f"move {name(self.index)} at ply {self.ply}"
        return f"logit of {name(self.index)}"


@dataclass(frozen=True)
class Graph:
    """What led to one prediction: nodes, the logit last, and edges among them."""

    history: Games
    square: int
    """Of the move whose logit is traced."""
    nodes: tuple[Node, ...]
    source: Int64[Tensor, " edge"]
    target: Int64[Tensor, " edge"]
    """Positions in `nodes`."""
    weight: Float[Tensor, " edge"]
    """What the source adds to the target: nats where that is the logit, else its activation."""
    incoming: Float[Tensor, " node"]
    """Sum of the absolute weights of all edges into a node, before any was left out."""
    from_errors: Float[Tensor, " node"]
    """The part of `incoming` that comes from errors."""

    @property
    def completeness(self) -> float:
        """Share of the edges' weight that comes from features and moves, not from errors; nodes
        count by their influence (the completeness score of Ameisen et al. 2025)."""
        influence = torch.tensor([node.influence for node in self.nodes])
        known = self.incoming > 0
        share = 1 - self.from_errors[known] / self.incoming[known]
        return float((influence[known] * share).sum() / influence[known].sum())

    @property
    def replacement(self) -> float:
        """Share of what reaches the logit that began with moves, not with errors (the replacement
        score of Ameisen et al. 2025), over the nodes that were traced."""
        began = {"move": 0.0, "error": 0.0}
        for node in self.nodes:
            if node.kind in began:
                began[node.kind] += node.influence
        return began["move"] / max(began["move"] + began["error"], 1e-12)

    def features(self) -> list[Node]:
        """The features, most influential first."""
        found = [node for node in self.nodes if node.kind == "feature"]
        return sorted(found, key=lambda node: -node.influence)

    def moves(self) -> list[Node]:
        """The moves, most influential first."""
        found = [node for node in self.nodes if node.kind == "move"]
        return sorted(found, key=lambda node: -node.influence)

    def kept(self, widths: Sequence[int]) -> Kept:
        """The features and errors of this graph, to run the model with nothing else."""
        plies = int(self.history.lengths()[0])
        features = [torch.zeros(plies, width, dtype=torch.bool) for width in widths]
        errors = [torch.zeros(plies, dtype=torch.bool) for _ in widths]
        for node in self.nodes:
            if node.kind == "feature":
                features[node.layer][node.ply, node.index] = True
            elif node.kind == "error":
                errors[node.layer][node.ply] = True
        return Kept(tuple(features), tuple(errors))

    def pruned(self, nodes: float = 0.8, edges: float = 0.98) -> "Graph":
        """The fewest nodes that hold a share of all influence, and edges likewise.

        Args:
            nodes: share of the influence of features, errors and moves that stays.
            edges: share of the edges' weight, each by the influence of its target, that stays.

        Raises:
            InputError: a share outside 0 to 1.
        """
        for share in (nodes, edges):
            if not 0 <= share <= 1:
                raise InputError(f"a share is from 0 to 1, not {share:g}")
        influence = torch.tensor([node.influence for node in self.nodes])
        stays = _largest(influence[:-1], nodes)
        stays = torch.cat([stays, torch.ones(1, dtype=torch.bool)])
        among = stays[self.source] & stays[self.target]
        source, target, weight = (x[among] for x in (self.source, self.target, self.weight))
        flow = weight.abs() / self.incoming[target].clamp(min=1e-12) * influence[target]
        held = _largest(flow, edges)
        place = stays.cumsum(0) - 1
        kept = stays.nonzero()[:, 0].tolist()
        return Graph(
            self.history,
            self.square,
            tuple(self.nodes[i] for i in kept),
            place[source[held]],
            place[target[held]],
            weight[held],
            self.incoming[stays],
            self.from_errors[stays],
        )


def trace(replacement: Replacement, history: Games, square: int, *, widest: int = 64) -> Graph:
    """Trace one prediction back to the moves that were read.

    From the last layer down, the most influential features of each are traced further; a
    node's influence is the share of what reaches the logit that passes by it, edges counted by
    their absolute weight.

    Args:
        replacement: of a model.
        history: one game up to the position.
        square: of the move whose logit is traced.
        widest: features of a layer that are traced further.

    Raises:
        InputError: more than one history, a move in the centre, or a history that the model
            cannot read.
    """
    token = token_of(square)
    if len(history) != 1:
        raise InputError(f"{len(history)} histories: a graph is of one position")
    if widest < 1:
        raise InputError(f"{widest} features a layer: trace at least one")
    model = replacement.model
    plies = int(history.lengths()[0])
    if not 1 <= plies <= model.cfg.n_ctx:
        raise InputError(
            f"a history of {plies} moves: this model reads from 1 to {model.cfg.n_ctx}"
        )
    paths = Paths(replacement, tokens(history)[:, :plies].to(model.device))
    sources = _Sources(paths)
    rows = [paths.from_logit(token)]
    owners = [len(sources.kinds)]
    influence = _normal(rows[0]).sum(0)
    for layer in range(model.cfg.n_layers - 1, -1, -1):
        found = sources.best(influence, layer, widest)
        if not len(found):
            continue
        row = paths.from_features(layer, sources.ply[found], sources.index[found])
        rows.append(row)
        owners += found.tolist()
        influence = influence + influence[found] @ _normal(row)
    return _graph(history, square, sources, torch.cat(rows), torch.tensor(owners), influence, paths)


def _graph(
    history: Games,
    square: int,
    sources: "_Sources",
    rows: Float[Tensor, "target source"],
    owners: Int64[Tensor, " target"],
    influence: Float[Tensor, " source"],
    paths: Paths,
) -> Graph:
    """Keep the nodes that were traced, and of what was not all that has no edges in."""
    traced = torch.zeros(len(influence), dtype=torch.bool)
    traced[owners[1:]] = True
    ends = torch.tensor([kind != "feature" for kind in sources.kinds])
    stays = (traced | ends) & (influence > 0)
    place = torch.cat([stays.cumsum(0) - 1, stays.sum()[None]])
    part = rows[:, stays]
    target, source = (part != 0).nonzero().unbind(1)
    incoming, wrong = torch.zeros(int(stays.sum()) + 1), torch.zeros(int(stays.sum()) + 1)
    errors = torch.tensor([kind == "error" for kind in sources.kinds])
    there = place[owners]
    incoming[there] = rows.abs().sum(1)
    wrong[there] = rows[:, errors].abs().sum(1)
    nodes = [sources.node(i, float(influence[i])) for i in stays.nonzero()[:, 0].tolist()]
    last = Node("logit", paths.layers, paths.plies - 1, square, paths.logit(token_of(square)), 1.0)
    return Graph(
        history,
        square,
        (*nodes, last),
        source,
        there[target],
        part[target, source],
        incoming,
        wrong,
    )


@dataclass(frozen=True)
class _Part:
    """Sources of one kind in one layer."""

    kind: NodeKind
    layer: int
    ply: Tensor
    index: Tensor
    value: Tensor


class _Sources:
    """All that can be the source of an edge, numbered: features that are on, errors, moves."""

    def __init__(self, paths: Paths) -> None:
        every, nothing = torch.arange(paths.plies), torch.zeros(paths.plies)
        parts: list[_Part] = []
        for layer, (ply, feature) in enumerate(paths.active):
            value = paths.features[layer][ply, feature].detach()
            parts.append(_Part("feature", layer, ply.cpu(), feature.cpu(), value.cpu()))
        for layer in range(paths.layers):
            parts.append(_Part("error", layer, every, torch.full_like(every, -1), nothing))
        squares = SQUARE_OF_TOKEN[paths.ids[0].cpu()]
        parts.append(_Part("move", -1, every, squares, nothing))
        self.kinds: list[NodeKind] = [part.kind for part in parts for _ in range(len(part.ply))]
        self.layer = torch.cat([torch.full_like(part.ply, part.layer) for part in parts])
        self.ply = torch.cat([part.ply for part in parts])
        self.index = torch.cat([part.index for part in parts])
        self.value = torch.cat([part.value for part in parts])
        self.is_feature = torch.tensor([kind == "feature" for kind in self.kinds])

    def best(self, influence: Tensor, layer: int, most: int) -> Int64[Tensor, " source"]:
        """The features of a layer with the most influence, if they have any."""
        here = (self.is_feature & (self.layer == layer) & (influence > 0)).nonzero()[:, 0]
        order = influence[here].argsort(descending=True, stable=True)[:most]
        return here[order]

    def node(self, number: int, influence: float) -> Node:
        """A source as a node."""
        layer, ply, index = (int(x[number]) for x in (self.layer, self.ply, self.index))
        return Node(self.kinds[number], layer, ply, index, float(self.value[number]), influence)


def _normal(rows: Float[Tensor, "target source"]) -> Float[Tensor, "target source"]:
    return rows.abs() / rows.abs().sum(1, keepdim=True).clamp(min=1e-12)


def _largest(values: Tensor, share: float) -> Tensor:
    """The fewest of these that add up to a share of their sum."""
    ranked, order = values.sort(descending=True, stable=True)
    before = ranked.double().cumsum(0) - ranked
    out = torch.zeros(len(values), dtype=torch.bool)
    out[order] = before < share * float(values.double().sum()) - 1e-12
    return out
