"""Drawing: the one door to plotly, and what all figures have in common.

plotly is imported when the first figure is drawn; the plain data of every figure needs none.
"""

import math
from collections.abc import Iterable
from html import escape
from textwrap import wrap
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..errors import InputError

Figure: TypeAlias = Any
"""A `plotly.graph_objects.Figure`. plotly is an extra, and it has no stubs worth the name."""

DIVERGING = ("#a11a1a", "#d9694a", "#f3c0a6", "#f7f7f5", "#a9cfe3", "#4490c2", "#14508c")
"""Below 0 red, 0 nearly white, above 0 blue: told apart by the colour-blind too."""
SEQUENTIAL = ("#f7f7f5", "#d5e5d8", "#a3ccb0", "#63ab86", "#2d8463", "#0c5b45", "#02372c")
"""From nearly white to dark green."""
LINES = ("#14508c", "#c2511f", "#2d8463", "#8a4fa0", "#a37b00", "#4a4a4a", "#c4437c", "#1795a5")
"""For curves and kinds, in this order."""
ABOVE, BELOW = "#14508c", "#a11a1a"
"""For single marks of what is above and below 0."""
BLANK = "#dcdcd6"
"""What is shown where there is no value."""
_FONT = {"family": "system-ui, -apple-system, Segoe UI, sans-serif", "size": 12, "color": "#222"}


def graph_objects() -> Any:
    """`plotly.graph_objects`.

    Raises:
        InputError: plotly is not installed.
    """
    try:
        from plotly import graph_objects as go
    except ImportError:
        raise InputError('figures need plotly: pip install "othellolens[viz]"') from None
    return go


def new_figure(width: int, height: int, title: str = "", **layout: Any) -> Figure:
    """An empty figure of so many pixels, in the house style."""
    base: dict[str, Any] = {
        "width": width,
        "height": height,
        "font": _FONT,
        "template": "plotly_white",
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hoverlabel": {"font": {"size": 13}},
        "modebar": {"remove": ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]},
    }
    if title:
        place = {"x": 18 / width, "xanchor": "left", "y": 1 - 12 / height, "yanchor": "top"}
        base["title"] = {"text": shown(title, _signs(width)), "font": {"size": 15}, **place}
    return graph_objects().Figure(layout=base | layout)


def head_of(title: str, width: int) -> int:
    """Pixels that a figure's title takes, with what is left free above and below it."""
    return 26 + 19 * len(wrap(title, _signs(width))) if title else 12


def shades(colours: tuple[str, ...]) -> list[list[object]]:
    """Colours as a scale of equal steps."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def shown(text: str, width: int = 0) -> str:
    """Text that plotly shows as it is written, not as markup; lines of at most `width` signs."""
    lines = wrap(text, width) if width else [text]
    return "<br>".join(escape(line, quote=False) for line in lines)


def plain(values: Tensor | Iterable[float]) -> list[float | None]:
    """Numbers as JSON and plotly know them: None where there is none, or none that is finite."""
    if isinstance(values, Tensor):
        values = values.detach().to("cpu", torch.float64).flatten().tolist()
    return [float(x) if math.isfinite(x) else None for x in values]


def furthest(values: Iterable[float | None]) -> float:
    """The largest distance from 0, as the end of a scale: 1 where there is nothing else."""
    return max((abs(x) for x in values if x is not None), default=0.0) or 1.0


def signed(value: float | None) -> str:
    """A value as a person reads it when pointing at it: three decimals, and more of small ones."""
    if value is None:
        return "no value"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.3g}"


def _signs(width: int) -> int:
    """Signs in a line of a title, beside the buttons that plotly shows at the right."""
    return max(16, (width - 150) // 8)
