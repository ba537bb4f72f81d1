"""Boards side by side: every number at its place, one scale, marks and discs where they belong."""

import json
from inspect import unwrap
from typing import Any

import pytest
import torch

from othellolens.errors import InputError
from othellolens.othello.games import Games
from othellolens.othello.squares import parse
from othellolens.viz import Panel, board_figure, panel, panels_of, position_panel

CORNERS = {"a1": (0, 0), "h1": (0, 7), "a8": (7, 0), "h8": (7, 7), "f5": (4, 5)}
"""Row from the top, column from the left."""


def traces(figure: Any, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def test_values_and_what_is_said_of_them_are_at_their_squares() -> None:
    values = torch.arange(64) / 1000 - 0.02
    (board,) = traces(board_figure([panel(values)]), "values")
    for square, (row, column) in CORNERS.items():
        value = float(values[parse(square)])
        assert board.z[row][column] == pytest.approx(value)
        assert board.text[row][column].startswith(f"{square}: ")
    assert board.text[4][5] == "f5: 0.024"
    assert board.hovertemplate == "%{text}<extra></extra>"


def test_letters_run_across_the_top_and_digits_down_the_side() -> None:
    layout = board_figure(panels_of(torch.zeros(2, 64), ["a", "b"])).layout
    for x, y in ((layout.xaxis, layout.yaxis), (layout.xaxis2, layout.yaxis2)):
        assert x.side == "top" and list(x.ticktext) == list("abcdefgh") and x.range == (-0.5, 7.5)
        assert list(y.ticktext) == list("12345678") and y.range == (7.5, -0.5)
        assert list(x.tickvals) == list(y.tickvals) == list(range(8))
    assert layout.yaxis2.scaleanchor == "x2"


def test_what_is_no_number_is_blank_and_not_zero() -> None:
    values = torch.ones(64)
    values[parse("d4")], values[parse("a8")] = torch.nan, torch.inf
    figure = board_figure([panel(values)])
    (board,) = traces(figure, "values")
    assert board.z[3][3] is None and board.z[7][0] is None and board.text[3][3] == "d4: no value"
    assert json.loads(figure.to_json())["data"][1]["z"][3][3] is None


@pytest.mark.parametrize(("scale", "low"), [("diverging", -3.0), ("probability", 0.0)])
def test_all_panels_share_one_scale(scale: Any, low: float) -> None:
    values = torch.zeros(3, 64)
    values[1, 5], values[2, 6] = 2.0, 3.0
    values[0, 0] = torch.nan
    figure = board_figure(panels_of(values, ["a", "b", "c"]), scale=scale)
    assert {trace.coloraxis for trace in traces(figure, "values")} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (low, 3.0)
    assert figure.layout.coloraxis.showscale is True


def test_limits_are_as_asked() -> None:
    axis = board_figure([panel(torch.ones(64))], limits=(0.2, 0.4)).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (0.2, 0.4)


def test_marks_the_last_move_and_discs_are_at_their_squares() -> None:
    moves = torch.tensor([[parse("f5")]], dtype=torch.int8)
    boards = Games(moves, "f5").replay()
    shown = panel(torch.zeros(64), boards=boards, marks=[parse("h1"), parse("a8")], last=44)
    figure = board_figure([panel(torch.zeros(64)), shown])
    (marks,), (last,), (discs,) = (traces(figure, what) for what in ("marks", "last", "discs"))
    assert list(zip(marks.x, marks.y, strict=True)) == [(7, 0), (0, 7)]
    assert list(zip(last.x, last.y, strict=True)) == [(5, 4)]
    assert {trace.xaxis for trace in (marks, last, discs)} == {"x2"}
    at = dict(zip(zip(discs.x, discs.y, strict=True), discs.marker.color, strict=True))
    dark, light = "#1b1b1b", "#ffffff"
    assert at == {(3, 3): light, (4, 3): dark, (3, 4): dark, (4, 4): dark, (5, 4): dark}


@pytest.mark.parametrize(("number", "columns"), [(1, 4), (5, 4), (32, 8)])
def test_boards_are_square_and_do_not_overlap(number: int, columns: int) -> None:
    titles = [f"board {i}, with a title that is far too long for it" for i in range(number)]
    layout = board_figure(panels_of(torch.rand(number, 64), titles), columns=columns, title="All")
    layout = layout.layout
    boxes = []
    for i in range(number):
        x, y = (layout[f"{axis}axis{'' if i == 0 else i + 1}"].domain for axis in "xy")
        assert 0 < x[0] < x[1] < 1 and 0 < y[0] < y[1] < 1
        wide, high = (x[1] - x[0]) * layout.width, (y[1] - y[0]) * layout.height
        assert wide == pytest.approx(high) and round(wide) >= 8 * 17
        boxes.append((*x, *y))
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            apart = one[1] < other[0] or other[1] < one[0] or one[3] < other[2] or other[3] < one[2]
            assert apart
    assert len(layout.annotations) == number


def test_titles_are_words_and_no_markup() -> None:
    figure = board_figure([Panel("a <b>", torch.zeros(64), text="x < y")], title="<i>")
    assert [words.text for words in figure.layout.annotations] == ["a &lt;b&gt;", "x &lt; y"]
    assert figure.layout.title.text == "&lt;i&gt;"


def test_a_position_alone_has_no_colour_bar() -> None:
    boards = Games(torch.tensor([[44]], dtype=torch.int8), "f5").replay()
    assert board_figure([position_panel(boards)]).layout.coloraxis.showscale is False


def test_bad_figures() -> None:
    with pytest.raises(InputError, match="no panels to draw"):
        board_figure([])
    with pytest.raises(InputError, match="diverging and probability: not 'loud'"):
        unwrap(board_figure)([panel(torch.zeros(64))], scale="loud")
    with pytest.raises(InputError, match="boards in 0 columns"):
        board_figure([panel(torch.zeros(64))], columns=0)
    with pytest.raises(InputError, match="a scale from 1 to 0"):
        board_figure([panel(torch.zeros(64))], limits=(1.0, 0.0))
