"""Boards side by side, as players know them: letters across the top, digits down the side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..errors import InputError
from ..othello.squares import SQUARES, name
from .drawing import (
    BLANK,
    DIVERGING,
    SEQUENTIAL,
    Figure,
    furthest,
    graph_objects,
    head_of,
    new_figure,
    plain,
    shades,
    shown,
    signed,
)
from .panels import Panel, on_board, place

Scale: TypeAlias = Literal["diverging", "probability"]
"""Blue above 0 and red below it, alike far; or from nearly white at 0 to dark green."""
_EDGE, _LETTERS, _LINE, _GAP, _BAR = 18, 17, 16, 18, 84
"""Pixels: beside and above a board for its digits and letters; a line; between boards; at the right
for the colour bar."""
_DISCS = {"X": "#1b1b1b", "O": "#ffffff"}
_MARK, _LAST = "#f08c00", "#e03131"


@dataclass(frozen=True)
class Sheet:
    """The pixels of a figure. Boards are put on it by the pixel of their upper left corner."""

    width: int
    height: int
    cell: int
    """Pixels of the side of a square."""

    def box(self, left: int, top: int) -> tuple[list[float], list[float]]:
        """The shares of width and height that a board fills."""
        size = 8 * self.cell
        x = [left / self.width, (left + size) / self.width]
        return x, [1 - (top + size) / self.height, 1 - top / self.height]


def board_figure(
    panels: Sequence[Panel],
    *,
    columns: int = 4,
    title: str = "",
    scale: Scale = "diverging",
    limits: tuple[float, float] | None = None,
    unit: str = "",
) -> Figure:
    """Boards in rows, all in one colour scale.

    Args:
        panels: what is on them.
        columns: boards a row, at most.
        title: above all.
        scale: "diverging" with 0 in the middle, or "probability" from 0 up.
        limits: ends of the scale; by default as far as the values go.
        unit: above the colour bar.

    Raises:
        InputError: no panels, fewer than one column, an unknown scale, or limits out of order.
    """
    if columns < 1:
        raise InputError(f"boards in {columns} columns: take 1 or more")
    colours = colour_axis(panels, scale, limits)
    sheet, corners = _laid_out(panels, min(columns, len(panels)), title)
    left = sheet.width - _BAR + 6
    colours["colorbar"] = colour_bar(sheet, left, corners[0][1], 8 * sheet.cell, unit)
    figure = new_figure(sheet.width, sheet.height, title, **layout_of(colours))
    put_boards(figure, sheet, panels, corners)
    return figure


def _laid_out(
    panels: Sequence[Panel], columns: int, title: str
) -> tuple[Sheet, list[tuple[int, int]]]:
    """The figure's size, and the upper left corner of each board."""
    cell = max(17, min(40, (1000 // columns - _EDGE - _GAP) // 8))
    above, below = (
        max(len(_wrapped(text, cell).split("<br>")) * bool(text) for text in texts) * _LINE
        for texts in ([panel.title for panel in panels], [panel.text for panel in panels])
    )
    across, down = _EDGE + 8 * cell + _GAP, above + _LETTERS + 8 * cell + below + _GAP
    width = columns * across + _GAP + _BAR
    head = head_of(title, width)
    left, top = _GAP + _EDGE, head + above + _LETTERS
    places = [divmod(number, columns) for number in range(len(panels))]
    corners = [(left + column * across, top + row * down) for row, column in places]
    return Sheet(width, head + (places[-1][0] + 1) * down, cell), corners


def put_boards(
    figure: Figure,
    sheet: Sheet,
    panels: Sequence[Panel],
    corners: Sequence[tuple[int, int]],
    *,
    first: int = 1,
) -> None:
    """Draw boards on a figure without margins, at these pixels; their axes are numbered on."""
    for number, (panel, (left, top)) in enumerate(zip(panels, corners, strict=True), first):
        axis = "" if number == 1 else str(number)
        figure.update_layout(_axes(sheet, left, top, axis))
        figure.add_traces(_traces(panel, sheet.cell, axis))
        for annotation in _words(panel, sheet, left, top):
            figure.add_annotation(annotation)


def colour_axis(
    panels: Sequence[Panel], scale: str, limits: tuple[float, float] | None = None
) -> dict[str, Any]:
    """The one colour scale of some panels.

    Raises:
        InputError: no panels, an unknown scale, or limits out of order.
    """
    if not panels:
        raise InputError("there are no panels to draw: give one or more")
    if scale not in ("diverging", "probability"):
        raise InputError(f"scales are diverging and probability: not {scale!r}")
    far = furthest(value for panel in panels for value in plain(panel.values))
    low, high = limits or (-far if scale == "diverging" else 0.0, far)
    if not low < high:
        raise InputError(f"a scale from {low:g} to {high:g}: give the lower end first")
    colours = DIVERGING if scale == "diverging" else SEQUENTIAL
    found = any(value is not None for panel in panels for value in plain(panel.values))
    return {"cmin": low, "cmax": high, "colorscale": shades(colours), "showscale": found}


def layout_of(colours: dict[str, Any]) -> dict[str, Any]:
    """The plot is the whole figure, so that places can be given in pixels; nothing is dragged."""
    margin = {"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0}
    return {"margin": margin, "coloraxis": colours, "dragmode": False}


def colour_bar(sheet: Sheet, left: int, top: int, length: int, unit: str) -> dict[str, Any]:
    """The colour bar, its upper left corner at this pixel."""
    return {
        "x": left / sheet.width,
        "xanchor": "left",
        "y": 1 - top / sheet.height,
        "yanchor": "top",
        "len": length,
        "lenmode": "pixels",
        "thickness": 12,
        "outlinewidth": 0,
        "ypad": 0,
        "xpad": 4,
        "title": {"text": shown(unit, 12), "font": {"size": 11}},
    }


def _axes(sheet: Sheet, left: int, top: int, axis: str) -> dict[str, Any]:
    across, down = sheet.box(left, top)
    ticks = list(range(8))
    both: dict[str, Any] = {
        "tickvals": ticks,
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "mirror": True,
        "linecolor": "#8a8a84",
        "automargin": False,
        "ticks": "",
        "tickfont": {"size": 10, "color": "#666"},
    }
    letters = both | {"ticktext": list("abcdefgh"), "side": "top", "domain": across}
    digits = both | {"ticktext": list("12345678"), "domain": down, "range": [7.5, -0.5]}
    letters |= {"range": [-0.5, 7.5], "anchor": f"y{axis}", "constrain": "domain"}
    digits |= {"anchor": f"x{axis}", "scaleanchor": f"x{axis}", "constrain": "domain"}
    return {f"xaxis{axis}": letters, f"yaxis{axis}": digits}


def _traces(panel: Panel, cell: int, axis: str) -> list[Any]:
    """A blank board, the values on it, and what stands on them."""
    on: dict[str, Any] = {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "showlegend": False}
    marked = (_signs(what, *made, on) for what, made in _signs_of(panel, cell).items() if made[0])
    return [_ground(on), _values(panel, on), *marked]


def _ground(on: dict[str, Any]) -> Any:
    return graph_objects().Heatmap(
        z=[[0] * 8] * 8,
        colorscale=[[0, BLANK], [1, BLANK]],
        showscale=False,
        hoverinfo="skip",
        xgap=1,
        ygap=1,
        name="blank",
        **on,
    )


def _values(panel: Panel, on: dict[str, Any]) -> Any:
    values = plain(panel.values)
    hover = [f"{name(square)}: {signed(values[square])}" for square in SQUARES]
    return graph_objects().Heatmap(
        z=on_board(values),
        text=on_board(hover),
        hovertemplate="%{text}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        name="values",
        **on,
    )


def _signs_of(panel: Panel, cell: int) -> dict[str, tuple[list[int], dict[str, Any]]]:
    """Discs, outlines and the dot of the last move: on which squares, and their looks."""
    board = panel.discs or 64 * "."
    discs = [square for square in SQUARES if board[square] != "."]
    line = {"color": "#1b1b1b", "width": 1}
    colours = [_DISCS[board[square]] for square in discs]
    outline = {"symbol": "square-open", "color": _MARK, "line": {"width": 2}}
    last = [] if panel.last is None else [panel.last]
    return {
        "discs": (discs, {"size": 0.56 * cell, "color": colours, "line": line}),
        "marks": (list(panel.marks), outline | {"size": 0.84 * cell}),
        "last": (last, {"size": 0.2 * cell, "color": _LAST, "line": {"width": 0}}),
    }


def _signs(what: str, squares: list[int], marker: dict[str, Any], on: dict[str, Any]) -> Any:
    places = [place(square) for square in squares]
    return graph_objects().Scatter(
        x=[column for column, _ in places],
        y=[row for _, row in places],
        mode="markers",
        marker=marker,
        hoverinfo="skip",
        name=what,
        **on,
    )


def _wrapped(text: str, cell: int) -> str:
    """At most as wide as the board and its digits, at some 6 pixels a sign."""
    return shown(text, (8 * cell + _EDGE) // 6)


def _words(panel: Panel, sheet: Sheet, left: int, top: int) -> list[dict[str, Any]]:
    middle = (left + 4 * sheet.cell) / sheet.width
    base = {"x": middle, "xref": "paper", "yref": "paper", "showarrow": False, "xanchor": "center"}
    above = base | {"y": 1 - (top - _LETTERS) / sheet.height, "yanchor": "bottom"}
    below = base | {"y": 1 - (top + 8 * sheet.cell + 1) / sheet.height, "yanchor": "top"}
    title = above | {"text": _wrapped(panel.title, sheet.cell), "font": {"size": 12}}
    text = below | {"text": _wrapped(panel.text, sheet.cell), "font": {"size": 11, "color": "#555"}}
    return [words for words in (title, text) if words["text"]]
