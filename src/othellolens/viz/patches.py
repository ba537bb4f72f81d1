"""Attribution, patching and interventions as figures: what a part adds, restores or changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..circuits.attribution import Attribution
from ..circuits.patching import Patched, Place, correlation
from ..errors import InputError
from ..evaluation.interventions import Outcome
from ..evaluation.persistence import Persistence
from .charts import Bar, Curve, Matrix, bar_figure, line_figure, matrix_figure
from .drawing import LINES, Figure, graph_objects, new_figure, plain, shown

Measure: TypeAlias = Literal["error", "f1", "kl", "followed"]
"""Of an intervention, case by case: see `evaluation.interventions.Outcome`."""
_UNITS = {
    "error": "false positives + false negatives",
    "f1": "F1 of the likeliest moves",
    "kl": "KL from uniform over the legal moves, nats",
    "followed": "share of the changed moves that follow",
}
_LASTING = {"error": "false positives + false negatives", "illegal": "share illegal"}


def patched_matrix(found: Patched) -> Matrix:
    """What patching each place restored: 0 as corrupted, 1 as clean.

    Where places differ in how far they lie before the last ply, columns are plies back and rows are
    sites; otherwise rows are layers and columns are the parts of a layer.

    Raises:
        InputError: a place that is there twice.
    """
    backs = {place.back for place in found.places}
    cells = [_by_ply(place) if len(backs) > 1 else _by_part(place) for place in found.places]
    if len(set(cells)) < len(cells):
        twice = next(
            p for p, cell in zip(found.places, cells, strict=True) if cells.count(cell) > 1
        )
        raise InputError(f"{twice} is patched twice: leave one of the two out")
    values = dict(zip(cells, plain(found.restored()), strict=True))
    rows = tuple(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    if len(backs) > 1:
        order = sorted(backs, key=lambda back: -1 if back is None else back, reverse=True)
        columns = [_ply(back) for back in order]
    table = tuple(tuple(values.get((row, column)) for column in columns) for row in rows)
    across = "plies before the last" if len(backs) > 1 else ""
    return Matrix(rows, tuple(columns), table, across)


def patched_figure(found: Patched, *, title: str = "What patching restores") -> Figure:
    """`patched_matrix` as a heatmap: white does nothing, blue goes towards the clean run."""
    return matrix_figure(patched_matrix(found), title=title, unit="restored")


@dataclass(frozen=True)
class Agreement:
    """A place patched in two ways in one pair of histories: the change of the metric, nats."""

    place: str
    layer: int
    pair: int
    exact: float
    fast: float

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return dict(vars(self))


def agreement(exact: Patched, fast: Patched) -> list[Agreement]:
    """Each place and pair, patched exactly and by gradients.

    Raises:
        InputError: the two are not of the same places.
    """
    if exact.places != fast.places or exact.metric.shape != fast.metric.shape:
        raise InputError("the two were not patched at the same places and pairs: they do not match")
    one, other = ((p.metric - p.corrupted).tolist() for p in (exact, fast))
    return [
        Agreement(str(place), place.site.layer, pair, one[row][pair], other[row][pair])
        for row, place in enumerate(exact.places)
        for pair in range(len(one[row]))
    ]


def agreement_figure(
    exact: Patched, fast: Patched, *, title: str = "Patching by gradients against patching"
) -> Figure:
    """`agreement` as points, coloured by layer, with Pearson's r over all of them.

    Raises:
        InputError: the two are not of the same places.
    """
    points = agreement(exact, fast)
    r = correlation(exact, fast)
    figure = new_figure(640, 560, f"{title}: r = {r:.3f}", margin=_margin())
    for number, layer in enumerate(sorted({point.layer for point in points})):
        here = [point for point in points if point.layer == layer]
        figure.add_trace(_cloud(here, f"layer {layer}", LINES[number % len(LINES)]))
    ends = [x for point in points for x in (point.exact, point.fast)]
    low, high = min(ends), max(ends)
    line = {"color": "#888", "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    figure.update_xaxes(title="change of the metric, exact (nats)", zerolinecolor="#ccc")
    figure.update_yaxes(title="by gradients (nats)", zerolinecolor="#ccc")
    return figure


def attribution_bars(found: Attribution, what: int, *, game: int = 0, count: int = 10) -> list[Bar]:
    """The parts that add most to one thing that is read, or take most off it.

    Args:
        found: an attribution.
        what: of which logit: a token, or a state and square of a reading.
        game: in which game.
        count: how many parts.

    Raises:
        InputError: there is no such game or logit.
    """
    _, games, number = found.values.shape
    if not (0 <= game < games and 0 <= what < number):
        raise InputError(f"there is no logit {what} of game {game}: {number} of {games} games")
    return [Bar(label, value) for label, value in found.top(what, game=game, count=count)]


def attribution_figure(
    found: Attribution, what: int, *, game: int = 0, count: int = 10, title: str = ""
) -> Figure:
    """`attribution_bars` as a figure; the title says what they are parts of."""
    bars = attribution_bars(found, what, game=game, count=count)
    total, rest = float(found.total()[game, what]), found.values[:, game, what].abs()
    share = sum(abs(bar.value) for bar in bars) / max(float(rest.sum()), 1e-12)
    title = title or f"Parts of logit {what}"
    across = f"nats; the whole is {total:.3f}, and these are {share:.0%} of what is added and taken"
    return bar_figure(bars, title=title, across=across)


def persistence_curves(found: Mapping[str, Persistence], what: str = "error") -> list[Curve]:
    """How an edit lasts: a curve for each method over the moves after it, with 95 % intervals.

    Args:
        found: by the name of the method.
        what: "error" or "illegal".

    Raises:
        InputError: another measure.
    """
    if what not in _LASTING:
        raise InputError(f"what lasts is error or illegal: not {what!r}")
    curves: list[Curve] = []
    for kind, one in found.items():
        moves = [k for k in range(one.alive.shape[1]) if bool(one.alive[:, k].any())]
        y, low, high = zip(*(one.interval(what, k) for k in moves), strict=True)
        curves.append(Curve(kind, tuple(float(k) for k in moves), y, low, high))
    return curves


def persistence_figure(
    found: Mapping[str, Persistence],
    what: str = "error",
    *,
    title: str = "What lasts of an edit when the game goes on",
) -> Figure:
    """`persistence_curves` as a figure."""
    curves = persistence_curves(found, what)
    return line_figure(
        curves,
        title=title,
        across="moves after the edit",
        up=_LASTING[what],
        share=what == "illegal",
    )


def outcome_bars(outcomes: Mapping[str, Outcome], what: Measure = "error") -> list[Bar]:
    """A measure of each method with its 95 % interval over cases.

    Raises:
        InputError: an unknown measure, or no case that counts.
    """
    if what not in _UNITS:
        raise InputError(f"measures are {', '.join(_UNITS)}: not {what!r}")
    return [Bar(kind, *one.interval(what)) for kind, one in outcomes.items()]


def outcomes_figure(
    outcomes: Mapping[str, Outcome],
    what: Measure = "error",
    *,
    null: Outcome | None = None,
    oracle: Outcome | None = None,
    title: str = "Interventions",
) -> Figure:
    """`outcome_bars` as a figure.

    Args:
        outcomes: by the name of the method.
        what: the measure.
        null: the model, not edited; a line.
        oracle: the rules, not edited: see `evaluation.interventions.oracle_null`; a line.
        title: above all.
    """
    lines = {"null": null, "oracle null": oracle}
    levels = {kind: one.mean(what) for kind, one in lines.items() if one is not None}
    return bar_figure(outcome_bars(outcomes, what), title=title, across=_UNITS[what], levels=levels)


def _by_ply(place: Place) -> tuple[str, str]:
    whole = Place(place.site, index=place.index)
    return str(whole), _ply(place.back)


def _by_part(place: Place) -> tuple[str, str]:
    site = place.site
    part = site.kind if site.head is None else f"{site.kind} {site.head}"
    return f"layer {site.layer}", part if place.index is None else f"{part}[{place.index}]"


def _ply(back: int | None) -> str:
    return "all plies" if back is None else "the last" if back == 0 else str(back)


def _margin() -> dict[str, int]:
    return {"l": 70, "r": 20, "t": 60, "b": 56}


def _cloud(points: list[Agreement], kind: str, colour: str) -> Any:
    hover = [
        f"{shown(p.place)}, pair {p.pair}: {p.exact:.3f}, by gradients {p.fast:.3f}" for p in points
    ]
    return graph_objects().Scatter(
        x=[p.exact for p in points],
        y=[p.fast for p in points],
        mode="markers",
        marker={"color": colour, "size": 6, "opacity": 0.65},
        name=kind,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=True,
    )
