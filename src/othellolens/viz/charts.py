"""Charts of what is no board: curves, bars and matrices, as plain data and drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InputError
from .boards import Scale
from .drawing import (
    ABOVE,
    BELOW,
    BLANK,
    DIVERGING,
    LINES,
    SEQUENTIAL,
    Figure,
    furthest,
    graph_objects,
    new_figure,
    plain,
    shades,
    shown,
    signed,
)

_DASHES = ("dash", "dot", "dashdot")


@dataclass(frozen=True)
class Curve:
    """A value at each of some places, with its interval where one is known."""

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    high: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        rows = [row for row in (self.x, self.y, self.low, self.high) if row is not None]
        if len({len(row) for row in rows}) > 1 or len(rows) == 3:
            raise InputError(
                f"the curve {self.name!r} needs a value at each x, and both ends of intervals or"
                " neither"
            )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; None for what is not finite."""
        return {
            field.name: _listed(getattr(self, field.name), field.name != "x")
            for field in fields(self)
        }


@dataclass(frozen=True)
class Bar:
    """One value by name, with its interval if one is known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; None for what is not finite."""
        numbers = {key: _number(getattr(self, key)) for key in ("value", "low", "high")}
        return {"name": self.name, **numbers}


@dataclass(frozen=True)
class Matrix:
    """A value for each of some rows and columns."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """Row by row; None where there is none."""
    across: str = ""
    """What the columns are."""
    down: str = ""
    """What the rows are."""

    def __post_init__(self) -> None:
        sizes = {len(row) for row in self.values}
        if len(self.values) != len(self.rows) or sizes - {len(self.columns)}:
            raise InputError(
                f"{len(self.rows)} names of rows and {len(self.columns)} of columns do not fit"
                " the values"
            )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; None for what is not finite."""
        values = [[_number(value) for value in row] for row in self.values]
        names = {"rows": list(self.rows), "columns": list(self.columns)}
        return {**names, "values": values, "across": self.across, "down": self.down}


def line_figure(
    curves: Sequence[Curve],
    *,
    title: str = "",
    across: str = "",
    up: str = "",
    levels: Mapping[str, float] | None = None,
    share: bool = False,
) -> Figure:
    """Curves with their intervals.

    Args:
        curves: in the order of the legend.
        title: above all.
        across: what x is.
        up: what y is.
        levels: horizontal lines, by name.
        share: whether y are shares, shown in per cent.

    Raises:
        InputError: no curves.
    """
    if not curves:
        raise InputError("there are no curves to draw: give one or more")
    figure = new_figure(820, 440, title, margin={"l": 70, "r": 20, "t": 56, "b": 60})
    for number, curve in enumerate(curves):
        colour = LINES[number % len(LINES)]
        figure.add_trace(_line(curve, colour, share))
    for number, (name, level) in enumerate((levels or {}).items()):
        text = f"{name} {level:.1%}" if share else f"{name} {level:.3g}"
        line = {"color": "#444", "width": 1.3, "dash": _DASHES[number % 3]}
        figure.add_hline(level, line=line, annotation_text=shown(text))
    figure.update_xaxes(title=shown(across), zeroline=False, showgrid=False, linecolor="#999")
    figure.update_yaxes(title=shown(up), zeroline=False, tickformat=".0%" if share else "")
    figure.update_yaxes(autorangeoptions_include=_around(curves, list((levels or {}).values())))
    return figure


def bar_figure(
    bars: Sequence[Bar],
    *,
    title: str = "",
    across: str = "",
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Bars from top to bottom in their order; blue above 0, red below it.

    Args:
        bars: with intervals or without.
        title: above all.
        across: what the values are.
        levels: vertical lines, by name.

    Raises:
        InputError: no bars, or two of one name.
    """
    if not bars:
        raise InputError("there are no bars to draw: give one or more")
    if len({bar.name for bar in bars}) < len(bars):
        raise InputError("two bars have the same name: they would be drawn as one")
    head = 48 + 15 * len(levels or {})
    height = head + 56 + 26 * len(bars)
    figure = new_figure(820, height, title, margin={"l": 20, "r": 70, "t": head, "b": 52})
    figure.add_trace(_bars(bars))
    for number, (name, level) in enumerate((levels or {}).items()):
        line = {"color": "#444", "width": 1.3, "dash": _DASHES[number % 3]}
        # One above the other: two lines may be close.
        words = {"text": shown(f"{name} {level:.3g}"), "yshift": 14 * number}
        figure.add_vline(level, line=line, annotation=words, annotation_position="top")
    names = [shown(bar.name) for bar in bars]
    figure.update_yaxes(categoryorder="array", categoryarray=names, automargin=True)
    figure.update_yaxes(range=[len(bars) - 0.5, -0.5], ticks="")
    figure.update_xaxes(title=shown(across), zeroline=True, zerolinecolor="#999")
    figure.update_xaxes(range=_reach(bars, list((levels or {}).values())))
    return figure


def matrix_figure(
    matrix: Matrix, *, title: str = "", unit: str = "", scale: Scale = "diverging", cell: int = 0
) -> Figure:
    """A matrix as a heatmap, its first row at the top.

    Args:
        matrix: with at least one row and column.
        title: above all.
        unit: above the colour bar.
        scale: "diverging" with 0 in the middle, or "probability" from 0 up.
        cell: pixels of a cell's side; 0: as fits.

    Raises:
        InputError: nothing in the matrix, or an unknown scale.
    """
    if not matrix.rows or not matrix.columns:
        raise InputError("there is nothing in the matrix: give it rows and columns")
    if scale not in ("diverging", "probability"):
        raise InputError(f"scales are diverging and probability: not {scale!r}")
    wide, high = (
        cell or max(3, min(most, 760 // n))
        for most, n in ((64, len(matrix.columns)), (34, len(matrix.rows)))
    )
    longest = max(len(name) for name in matrix.rows)
    foot = 7 * max(len(name) for name in matrix.columns)
    left, bottom = 44 + 7 * longest, 56 + (foot if foot > wide else 0)
    width, height = left + wide * len(matrix.columns) + 110, 56 + high * len(matrix.rows) + bottom
    margin = {"l": left, "r": 110, "t": 56, "b": bottom}
    figure = new_figure(max(width, 360), height, title, margin=margin)
    figure.add_trace(_heat(matrix, unit, scale, (wide, high)))
    figure.update_xaxes(title=shown(matrix.across), showgrid=False, type="category", ticks="")
    figure.update_yaxes(title=shown(matrix.down), showgrid=False, type="category", ticks="")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(plot_bgcolor=BLANK)
    return figure


def _line(curve: Curve, colour: str, share: bool) -> Any:
    known = curve.low is not None and curve.high is not None
    name, form = shown(curve.name), "%{y:.2%}" if share else "%{y:.4g}"
    return graph_objects().Scatter(
        x=list(curve.x),
        y=_listed(curve.y, True),
        error_y=_errors(curve.low or (), curve.y, curve.high or ()) if known else None,
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2},
        marker={"size": 6},
        hovertemplate=f"{name}, %{{x}}: {form}<extra></extra>",
        showlegend=True,
    )


def _errors(
    low: Sequence[float | None], value: Sequence[float | None], high: Sequence[float | None]
) -> dict[str, Any]:
    """Intervals as plotly draws them: how far the ends are from the value."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_apart(end, x) for end, x in zip(high, value, strict=True)],
        "arrayminus": [_apart(x, end) for end, x in zip(low, value, strict=True)],
        "width": 3,
        "thickness": 1.2,
    }


def _bars(bars: Sequence[Bar]) -> Any:
    known = any(bar.low is not None and bar.high is not None for bar in bars)
    ends = zip(*((bar.low, bar.value, bar.high) for bar in bars), strict=True)
    names, values = [shown(bar.name) for bar in bars], plain(bar.value for bar in bars)
    return graph_objects().Bar(
        x=values,
        y=names,
        orientation="h",
        error_x=_errors(*ends) if known else None,
        marker={"color": [ABOVE if bar.value >= 0 else BELOW for bar in bars], "opacity": 0.8},
        text=None if known else [signed(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        customdata=[f"{shown(bar.name)}: {_with_ends(bar)}" for bar in bars],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )


def _around(curves: Sequence[Curve], levels: Sequence[float]) -> list[float]:
    """A little below and above each level, so that none is drawn upon the axis."""
    seen = [x for curve in curves for x in plain(x for x in curve.y if x is not None)]
    known = [*(x for x in seen if x is not None), *levels]
    room = 0.06 * (max(known) - min(known)) if known else 0.0
    return [end for level in levels for end in (level - room, level + room)]


def _reach(bars: Sequence[Bar], levels: Sequence[float]) -> list[float]:
    """From the least to the largest that is drawn, 0 among them, with room for what is written."""
    ends = [x for bar in bars for x in (bar.value, bar.low, bar.high)]
    known = [x for x in plain(x for x in [*ends, *levels, 0.0] if x is not None) if x is not None]
    low, high = min(known), max(known)
    room = 0.12 * (high - low) or 1.0
    return [low - room if low < 0 else low, high + room if high > 0 else high]


def _heat(matrix: Matrix, unit: str, scale: Scale, cell: tuple[int, int]) -> Any:
    values = [[_number(value) for value in row] for row in matrix.values]
    far = furthest(value for row in values for value in row)
    rows, columns = ([shown(name) for name in names] for names in (matrix.rows, matrix.columns))
    hover = [
        [f"{row}, {column}: {signed(value)}" for column, value in zip(columns, line, strict=True)]
        for row, line in zip(rows, values, strict=True)
    ]
    written = min(cell) >= 20 and cell[0] >= 40
    return graph_objects().Heatmap(
        z=values,
        x=columns,
        y=rows,
        text=[["" if v is None else f"{v:z.2f}" for v in row] for row in values],
        texttemplate="%{text}" if written else None,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale=shades(DIVERGING if scale == "diverging" else SEQUENTIAL),
        zmin=-far if scale == "diverging" else 0.0,
        zmax=far,
        xgap=1 if min(cell) > 12 else 0,
        ygap=1 if min(cell) > 12 else 0,
        colorbar={"thickness": 12, "outlinewidth": 0, "title": {"text": shown(unit, 14)}},
    )


def _with_ends(bar: Bar) -> str:
    value = signed(_number(bar.value))
    if bar.low is None or bar.high is None:
        return value
    return f"{value} [{signed(_number(bar.low))}, {signed(_number(bar.high))}]"


def _apart(high: float | None, low: float | None) -> float:
    found = 0.0 if high is None or low is None else high - low
    return found if math.isfinite(found) else 0.0


def _number(value: float | None) -> float | None:
    return None if value is None else plain([value])[0]


def _listed(values: Any, numbers: bool) -> Any:
    """A tuple as a list; numbers that are not finite as None."""
    if not isinstance(values, tuple):
        return values
    return [_number(value) for value in values] if numbers else list(values)
