"""Pareto plots: how much each way of being sparse costs, as an SVG that needs nothing else."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

_COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2",
    "#7f7f7f", "#bcbd22", "#003f5c", "#a05195", "#665191", "#2f4b7c",
)  # fmt: skip
_MARKS = ("circle", "square", "diamond")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 940, 520, 70, 46, 260, 60


class Point(NamedTuple):
    """One SAE, or the mean of several."""

    x: float
    y: float
    label: str
    """What is shown when the pointer rests on it."""


class Axis(NamedTuple):
    """What one axis shows."""

    title: str
    least: float
    most: float
    even: bool = False
    """Linear instead of logarithmic."""

    def at(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.even:
            return (value - self.least) / (self.most - self.least)
        low, high = math.log(self.least), math.log(self.most)
        return (math.log(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers within the axis: 1, 2 and 5 times powers of ten on a logarithmic one."""
        if self.even:
            return self._even_ticks()
        powers = range(math.floor(math.log10(self.least)), math.ceil(math.log10(self.most)) + 1)
        every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        return [tick for tick in every if self.least <= tick <= self.most]

    def _even_ticks(self) -> list[float]:
        rough = (self.most - self.least) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
        first, last = math.ceil(self.least / step), math.floor(self.most / step)
        return [round(step * n, 12) for n in range(first, last + 1)]


def pareto_svg(
    lines: Mapping[str, Sequence[Point]], title: str, x: str, y: str, *, even: bool = False
) -> str:
    """A line for each name through its points; axes are logarithmic, so numbers above 0.

    Args:
        lines: the points of each name; those that are not above 0 are left out.
        title: above the plot.
        x: title of the axis to the right.
        y: title of the axis upwards.
        even: make that axis linear.
    """
    shown = {name: sorted(filter(_visible, points)) for name, points in lines.items()}
    everything = [point for points in shown.values() for point in points]
    across = _axis(x, [point.x for point in everything])
    up = _axis(y, [point.y for point in everything], even=even)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 26, title, size=16),
        *_frame(across, up),
    ]
    for number, (name, points) in enumerate(shown.items()):
        parts += _line(number, name, points, across, up)
    return "\n".join([*parts, "</svg>\n"])


def _visible(point: Point) -> bool:
    return all(math.isfinite(value) and value > 0 for value in (point.x, point.y))


def _axis(title: str, values: Sequence[float], *, even: bool = False) -> Axis:
    if not values:
        return Axis(title, 1.0, 10.0, even)
    if even:
        room = 0.06 * (max(values) - min(values)) or 0.1
        return Axis(title, min(values) - room, max(values) + room, even)
    return Axis(title, min(values) / 1.15, max(values) * 1.15)


def _place(point: Point, across: Axis, up: Axis) -> tuple[float, float]:
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + wide * across.at(point.x), _TOP + high * (1 - up.at(point.y))


def _frame(across: Axis, up: Axis) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts: list[str] = []
    for tick in across.ticks():
        x, _ = _place(Point(tick, up.least, ""), across, up)
        parts.append(_stroke(x, _TOP, x, bottom))
        parts.append(_text(x, bottom + 18, f"{tick:g}", anchor="middle"))
    for tick in up.ticks():
        _, y = _place(Point(across.least, tick, ""), across, up)
        parts.append(_stroke(_LEFT, y, right, y))
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", anchor="end"))
    middle = (_TOP + bottom) / 2
    return [
        *parts,
        f'<rect x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"'
        ' fill="none" stroke="#444"/>',
        _text((_LEFT + right) / 2, bottom + 42, across.title, anchor="middle"),
        f'<text x="18" y="{middle:.0f}" text-anchor="middle"'
        f' transform="rotate(-90 18 {middle:.0f})">{escape(up.title)}</text>',
    ]


def _line(number: int, name: str, points: Sequence[Point], across: Axis, up: Axis) -> list[str]:
    colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
    places = [_place(point, across, up) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    key = _TOP + 10 + 22 * number
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        *(
            _mark(mark, x, y, colour, point.label)
            for (x, y), point in zip(places, points, strict=True)
        ),
        _mark(mark, _WIDTH - _RIGHT + 20, key, colour, name),
        _text(_WIDTH - _RIGHT + 34, key + 4, name),
    ]


def _mark(kind: str, x: int | float, y: int | float, colour: str, label: str) -> str:
    title = f"<title>{escape(label)}</title>"
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}">{title}</circle>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return (
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"{turn}>'
        f"{title}</rect>"
    )


def _stroke(x1: int | float, y1: int | float, x2: int | float, y2: int | float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#e4e4e4"/>'


def _text(
    x: int | float, y: int | float, text: str, *, anchor: str = "start", size: int = 13
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(text)}</text>"
    )
