"""The verb `trace`: through which features a model comes to its moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import tyro

from . import viz
from .artifact import write_file
from .circuits.faithfulness import Faithfulness, faithfulness, pooled
from .circuits.graph import Graph, Node, trace
from .circuits.known import OnLine, on_line
from .circuits.mlp_neurons import of_neurons
from .circuits.paths import Paths
from .circuits.portraits import Portraits, portraits
from .circuits.replacement import Replacement, Usual, usual
from .errors import InputError
from .gpt.model import GPT
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .gpt.tokens import SQUARE_OF_TOKEN, token_of, tokens
from .lens import Lens
from .othello.boards import unpack
from .othello.games import Games, random_games
from .othello.records import to_text, typed_games
from .othello.squares import NO_MOVE, name, parse
from .runs import HELD_SEED, games_of
from .sae.foreign.forms import is_sae, load_sae
from .terminal import Progress, say, table, write_result
from .viz.drawing import Figure, graph_objects

_SEED = 1_000_003
# Games that nobody trains on, and that no fact was chosen on.
_NODES, _EDGES = 40, 120
# Of a figure.
SHARES = (0.5, 0.8, 0.9, 0.95, 0.99, 1.0)


def trace_verb(
    replacement: Annotated[Path, tyro.conf.Positional],
    *,
    model: str = "mini",
    history: str | None = None,
    move: str | None = None,
    count: int = 12,
    plies: tuple[int, int] = (10, 40),
    nodes: float = 0.8,
    edges: float = 0.98,
    widest: int = 64,
    top: int = 10,
    held: str = "500",
    figure: Path | None = None,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Draw the features through which a model comes to legal moves, and check the circuits.

    `othellolens sweep --target mlp_out --site ln2.0 ln2.1 ...` makes transcoders for it. Each
    circuit is run alone and left out, beside random ones. Since the rules say which discs make a
    move legal, the features and moves of a circuit are held against the true flanking lines.

    Args:
        replacement: a folder with one encoder for each layer: transcoders from ln2 or resid_mid to
            mlp_out, or SAEs of resid_post; or "neurons", which make no error.
        model: mini, a published model's name, or the folder of a trained model.
        history: one game up to a position, as players write it ("f5d6c3"); by default the likeliest
            moves at positions of random games are traced.
        move: the move to trace behind it; by default the likeliest.
        count: of predictions, where no history is given.
        plies: shortest and longest history, likewise.
        nodes: share of the influence that pruning leaves.
        edges: the same of edges.
        widest: features of a layer that are traced further.
        top: nodes that are shown and held against the flanking lines.
        held: a file of games, or how many random ones to make, to see what features speak of.
        figure: an HTML file for a drawing of the first graph, by its most influential nodes; needs
            plotly.
        seed: of positions and random circuits.
        json: file for the graphs and the result ("-": standard output).
    """
    player, progress = load_gpt(model), Progress()
    by_neurons = str(replacement) == "neurons"
    stand_in = of_neurons(player) if by_neurons else load_replacement(replacement, player)
    games = games_of(held, HELD_SEED)
    looks: list[Portraits] = []
    for layer, lens in enumerate(stand_in.lenses):
        progress("what features speak of", layer, len(stand_in.lenses))
        looks.append(portraits(lens, games))
    progress.close()
    if figure is not None:
        graph_objects()  # before anything takes time
    asked = (
        predictions(player, count, plies, seed)
        if history is None
        else [_given(player, history, move)]
    )
    tracer = Tracer(stand_in, looks, usual(stand_in, games), seed)
    found: list[Traced] = []
    for number, (one, square) in enumerate(asked):
        progress("tracing", number, len(asked))
        found.append(tracer.trace(one, square, widest=widest, nodes=nodes, edges=edges))
    progress.close()
    for one in found if history is not None else found[:1]:
        say(described(one, looks, top) + "\n")
    plural = "s" if len(found) > 1 else ""
    say(f"{len(found)} prediction{plural}; circuits with {nodes:.0%} of the influence")
    say(table([one.row() for one in found]) + "\n")
    say("share of the logits that is left, of all predictions together, by what is kept")
    curve = tracer.curve(found, edges)
    say(table(curve) + "\n")
    legal = [one for one in found if one.legal]
    lines = on_line([t.whole for t in legal], looks, [t.paths for t in legal], top=top)
    known = known_rows(lines) if legal else []
    if legal:
        say(f"of the {top} nodes with most influence: on the true flanking lines of the move")
        say(table(known))
    else:
        say(f"{name(found[0].whole.square)} is not legal there: it has no flanking lines")
    if figure is not None:
        page: str = drawn(found[0], looks).to_html(include_plotlyjs=True)
        write_file(figure, lambda work: work.write_text(page))
        say(f"\nopen {figure.resolve().as_uri()}")
    rows = [{**one.row(), "graph": as_dict(one.pruned, looks)} for one in found]
    write_result(json, {"predictions": rows, "faithfulness": curve, "flanking lines": known})


@dataclass(frozen=True)
class Traced:
    """One prediction: its graph, pruned, and how faithful that is."""

    whole: Graph
    pruned: Graph
    paths: Paths
    zero: Faithfulness
    """Where what is left out is set to 0."""
    mean: Faithfulness
    """Where it is set to its mean at that ply."""

    @property
    def legal(self) -> bool:
        """Whether the rules allow the move that is traced."""
        moves = unpack(self.whole.history.replay()[-1:].legal())
        return bool(moves[0, self.whole.square])

    def row(self) -> dict[str, object]:
        """One line of the table."""
        kinds = [node.kind for node in self.pruned.nodes]
        played = self.whole.history.lengths()
        return {
            "move": f"{name(self.whole.square)} behind {int(played[0])} moves",
            "logit": self.zero.model,
            "features": kinds.count("feature"),
            "errors": kinds.count("error"),
            "moves": kinds.count("move"),
            "edges": len(self.pruned.source),
            "complete": self.whole.completeness,
            "replaced": self.whole.replacement,
            "faithful": self.zero.share(),
            "no errors": self.zero.share("features"),
            "random": self.zero.share("random"),
            "without": self.zero.share("without"),
            "faithful (mean)": self.mean.share(),
            "random (mean)": self.mean.share("random"),
        }


class Tracer:
    """A replacement model, what its features speak of, and what is left out is set to."""

    def __init__(
        self, replacement: Replacement, looks: Sequence[Portraits], means: Usual, seed: int
    ) -> None:
        self.replacement, self.looks, self.means, self.seed = replacement, looks, means, seed

    def trace(
        self, history: Games, square: int, *, widest: int, nodes: float, edges: float
    ) -> Traced:
        """Trace, prune and test one prediction."""
        paths = Paths(self.replacement, tokens(history)[:, : int(history.lengths()[0])])
        whole = trace(self.replacement, history, square, widest=widest)
        part = whole.pruned(nodes, edges)
        return Traced(whole, part, paths, self.faithfulness(part), self.faithfulness(part, True))

    def faithfulness(self, graph: Graph, to_mean: bool = False) -> Faithfulness:
        """Of a graph, what is left out set to 0 or to its mean."""
        others = self.means if to_mean else None
        return faithfulness(self.replacement, graph, others, seed=self.seed)

    def curve(self, found: Sequence[Traced], edges: float) -> list[dict[str, object]]:
        """Faithfulness over all predictions by how much of the graphs is kept; the rest is set to
        0 and, in the last two columns, to its mean."""
        rows: list[dict[str, object]] = []
        for share in SHARES:
            graphs = [one.whole.pruned(share, edges) for one in found]
            zero = [self.faithfulness(graph) for graph in graphs]
            means = [self.faithfulness(graph, True) for graph in graphs]
            row: dict[str, object] = {
                "influence kept": f"{share:.0%}",
                "features": mean(len(graph.features()) for graph in graphs),
            }
            for what in ("circuit", "features", "random", "without"):
                title = {"features": "no errors"}.get(what, what)
                row[title] = pooled(zero, what)
            row["circuit (mean)"] = pooled(means, "circuit")
            row["random (mean)"] = pooled(means, "random")
            rows.append(row)
        return rows


def load_replacement(folder: Path, model: GPT) -> Replacement:
    """The encoders in the folders of a folder, one for each layer.

    Raises:
        InputError: no encoders, several for one layer, or of sites of which no replacement model
            is made.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    found = [path for path in sorted(folder.glob("*")) if path.is_dir() and is_sae(path)]
    if not found:
        raise InputError(
            f"{folder} holds no folders of SAEs or transcoders: `othellolens sweep --target mlp_out"
            " --site ln2.0 ln2.1 ...` makes them"
        )
    lenses: list[Lens] = []
    for path in found:
        sae = load_sae(path)
        hook = sae.metadata.get("hook_name")
        if not hook:
            raise InputError(f"{path} does not say at which site it was made")
        lenses.append(Lens(model, Site.parse(hook), sae))
    layers = [lens.site.layer for lens in lenses]
    twice = [str(p) for p, layer in zip(found, layers, strict=True) if layers.count(layer) > 1]
    if twice:
        raise InputError(f"{' and '.join(twice)} are of the same layer: keep one of them there")
    return Replacement.of(lenses)


def predictions(
    model: GPT, count: int, plies: tuple[int, int], seed: int
) -> list[tuple[Games, int]]:
    """Positions of random games, and the move that the model finds likeliest, if it is legal."""
    low, high = plies
    if not 1 <= low <= high <= model.cfg.n_ctx or count < 1:
        raise InputError(
            f"{count} histories of {low} to {high} moves: ask for one or more, of 1 to"
            f" {model.cfg.n_ctx} moves"
        )
    generator = torch.Generator().manual_seed(seed)
    games = random_games(4 * count + 20, seed=_SEED + seed)
    found: list[tuple[Games, int]] = []
    for row in range(len(games)):
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        if int(games.lengths()[row]) <= length:
            continue
        moves = games.moves[row : row + 1].clone()
        moves[:, length:] = NO_MOVE
        one = Games(moves, f"game {row} of {games.origin}")
        square = likeliest(model, one)
        if bool(unpack(one.replay()[-1:].legal())[0, square]):
            found.append((one, square))
        if len(found) == count:
            return found
    raise InputError(f"only {len(found)} of {count} likeliest moves are legal: trace fewer")


def likeliest(model: GPT, history: Games) -> int:
    """The square of the model's likeliest move behind one history."""
    with torch.no_grad():
        logits = model(tokens(history)[:, : int(history.lengths()[0])].to(model.device))
    return int(SQUARE_OF_TOKEN[1 + int(logits[0, -1, 1:].argmax())])


def _given(model: GPT, text: str, move: str | None) -> tuple[Games, int]:
    history = typed_games(text)
    if move is None:
        return history, likeliest(model, history)
    square = parse(move)
    token_of(square)
    return history, square


def described(one: Traced, looks: Sequence[Portraits], top: int) -> str:
    """A graph in words: the position, the nodes with most influence, and what feeds the logit."""
    graph = one.pruned
    head = f"{to_text(graph.history).strip()}, then {name(graph.square)}?"
    board = graph.history.replay()
    rows: list[dict[str, object]] = []
    for node in sorted(graph.nodes[:-1], key=lambda node: -node.influence)[:top]:
        rows.append({"node": str(node), "speaks of": label(node, looks), "share": node.influence})
    into = (graph.target == len(graph.nodes) - 1).nonzero()[:, 0]
    order = into[graph.weight[into].abs().argsort(descending=True)][:top].tolist()
    direct: list[dict[str, object]] = [
        {
            "feeds the logit": str(graph.nodes[int(graph.source[edge])]),
            "speaks of": label(graph.nodes[int(graph.source[edge])], looks),
            "nats": float(graph.weight[edge]),
        }
        for edge in order
    ]
    return "\n".join([head, board.text(len(board) - 1), "", table(rows), "", table(direct)])


def drawn(one: Traced, looks: Sequence[Portraits]) -> Figure:
    """The nodes with most influence and the edges between them as a plotly figure, with the boards
    of the first features: blue where a square is mine more often than usual, red where theirs. An
    edge's weight is its share of what reaches the logit."""
    graph = _small(one.whole)
    influence = torch.tensor([node.influence for node in graph.nodes])[graph.target]
    # Logits and activations have no unit in common: the part of what reaches the logit has.
    flow = graph.weight / graph.incoming[graph.target] * influence
    ends = zip(*(x.tolist() for x in (graph.source, graph.target, flow)), strict=True)
    edges = [viz.Edge(str(source), str(target), weight) for source, target, weight in ends]
    joined = {edge.source for edge in edges} | {edge.target for edge in edges}
    nodes = [
        _drawn(number, node, looks)
        for number, node in enumerate(graph.nodes)
        if str(number) in joined or node.kind == "logit"
    ]
    names = {-1: "moves", len(looks): "logit"}
    title = f"{to_text(graph.history).strip()}, then {name(graph.square)}"
    return viz.graph_figure(nodes, edges, title=title, boards=6, layers=names)


def _small(graph: Graph) -> Graph:
    """As much of a graph as can be looked at."""
    shares = [step / 20 for step in range(18, 0, -1)]
    nodes = next((s for s in shares if len(graph.pruned(s).nodes) <= _NODES), shares[-1])
    for edges in shares:
        part = graph.pruned(nodes, edges)
        if len(part.source) <= _EDGES:
            return part
    return graph.pruned(nodes, 0.0)


def _drawn(number: int, node: Node, looks: Sequence[Portraits]) -> viz.Node:
    said, board = str(node), None
    if node.kind == "feature":
        said = f"{looks[node.layer].label(node.index)}, ply {node.ply}"
        board = viz.panel(looks[node.layer].boards[node.index], said)
    return viz.Node(str(number), said, node.layer, node.kind, node.influence, board)


def label(node: Node, looks: Sequence[Portraits]) -> str:
    """What a node speaks of."""
    return looks[node.layer].label(node.index) if node.kind == "feature" else "-"


def known_rows(found: OnLine) -> list[dict[str, object]]:
    """The shares on the flanking lines with their intervals, beside chance."""
    said = {
        "features": "features that speak of the lines alone",
        "beyond": "features that speak of more of them than the move's square",
        "moves": "moves that put a disc there",
    }
    return [
        {
            "nodes": text,
            "share": str(found.interval(what)),
            "by chance": str(found.interval(f"{what}_by_chance")),
        }
        for what, text in said.items()
    ]


def as_dict(graph: Graph, looks: Sequence[Portraits]) -> dict[str, Any]:
    """A graph as JSON: nodes with labels and boards, edges by the numbers of nodes."""
    nodes = [
        {
            "kind": node.kind,
            "layer": node.layer,
            "ply": node.ply,
            "index": node.index,
            "value": node.value,
            "influence": node.influence,
            "label": label(node, looks),
            "board": looks[node.layer].boards[node.index].tolist()
            if node.kind == "feature"
            else None,
        }
        for node in graph.nodes
    ]
    edges = zip(*(x.tolist() for x in (graph.source, graph.target, graph.weight)), strict=True)
    return {
        "history": to_text(graph.history).strip(),
        "move": name(graph.square),
        "nodes": nodes,
        "edges": [list(edge) for edge in edges],
    }
