"""Panels: the numbers that went in, on the squares they belong to, ready for JSON."""

import json
import math
import subprocess
import sys

import pytest
import torch
from reference.othello_by_lists import replay

from othellolens.errors import InputError
from othellolens.othello.boards import Boards
from othellolens.othello.games import Games
from othellolens.othello.squares import name, parse
from othellolens.viz import Panel, board_figure, on_board, panel, panels_of, position_panel


def after_f5() -> Boards:
    """White is to move: f5, e5, d5 and e4 are black, d4 is white."""
    moves = torch.full((1, 60), -1, dtype=torch.int8)
    moves[0, 0] = parse("f5")
    return Games(moves, "f5").replay()


def test_a_board_lies_as_players_know_it() -> None:
    rows = on_board([name(square) for square in range(64)])
    assert rows[0] == ["a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1"]
    assert [row[0] for row in rows] == ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"]
    assert rows[7][7] == "h8" and rows[0][7] == "h1" and rows[7][0] == "a8" and rows[4][5] == "f5"


def test_discs_are_in_true_colours_where_white_is_to_move() -> None:
    boards = after_f5()
    assert boards.text(0).splitlines()[5] == "5 . . . X X X . ."
    found = panel(torch.zeros(64), boards=boards)
    assert found.black is False and found.discs is not None
    black = {name(s) for s in range(64) if found.discs[s] == "X"}
    white = {name(s) for s in range(64) if found.discs[s] == "O"}
    assert black == {"f5", "e5", "d5", "e4"} and white == {"d4"}


def test_discs_are_in_true_colours_at_every_position(games: Games) -> None:
    boards, moves = games[:1].replay(), [m for m in games.moves[0].tolist() if m >= 0]
    for ply, slow in enumerate(replay(moves)):
        found = panel(torch.zeros(64), boards=boards[ply : ply + 1])
        assert found.discs is not None
        mine = {s for s in range(64) if found.discs[s] == ("X" if found.black else "O")}
        assert mine == set(slow.mine)
        assert {s for s in range(64) if found.discs[s] == "."} == (
            set(range(64)) - set(slow.mine) - set(slow.theirs)
        )


def test_a_position_has_its_legal_moves_outlined() -> None:
    found = position_panel(after_f5(), "f5", last=44)
    assert {name(mark) for mark in found.marks} == {"d6", "f6", "f4"}
    assert found.text == "White to move" and found.last == 44
    assert bool(found.values.isnan().all())


def test_a_panel_goes_through_json() -> None:
    values = torch.arange(64).float()
    values[27], values[3] = math.nan, math.inf
    found = panel(values, "<b>", boards=after_f5(), marks=[44, 0], last=44, text="t")
    saved = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (
        saved["values"][27] is None and saved["values"][3] is None and saved["values"][44] == 44.0
    )
    again = Panel.of(saved)
    assert again.to_dict() == found.to_dict()
    assert (again.marks, again.last, again.discs) == ((44, 0), 44, found.discs)


def test_rows_become_panels_of_one_position_or_one_each(games: Games) -> None:
    boards, values = games[:1].replay()[:3], torch.randn(3, 64)
    each = panels_of(values, ["a", "b", "c"], boards=boards)
    one = panels_of(values, ["a", "b", "c"], boards=boards[1:2])
    assert [p.title for p in each] == ["a", "b", "c"]
    for row in range(3):
        assert torch.equal(each[row].values, values[row])
        assert each[row].discs == panel(values[0], boards=boards[row : row + 1]).discs
        assert one[row].discs == each[1].discs


def test_gradients_are_left_behind() -> None:
    assert not panel(torch.zeros(64, requires_grad=True).double()).values.requires_grad


def test_bad_panels() -> None:
    with pytest.raises(InputError, match="one for each of the 64 squares"):
        panel(torch.zeros(63))
    with pytest.raises(InputError, match="there is no square 64"):
        panel(torch.zeros(64), marks=[64])
    with pytest.raises(InputError, match="there is no square -1"):
        panel(torch.zeros(64), last=-1)
    with pytest.raises(InputError, match="64 signs"):
        Panel("", torch.zeros(64), "X")
    with pytest.raises(InputError, match="2 boards and 1 titles"):
        panels_of(torch.zeros(2, 64), ["a"])
    four = Games(torch.tensor([[44, 45, 37, 43]], dtype=torch.int8), "four").replay()
    with pytest.raises(InputError, match="3 positions: a board shows one"):
        panel(torch.zeros(64), boards=four[:3])
    with pytest.raises(InputError, match="2 boards of 3 positions"):
        panels_of(torch.zeros(2, 64), ["a", "b"], boards=four[:3])


def test_neither_the_library_nor_plain_data_loads_plotly() -> None:
    code = (
        "import sys, torch, othellolens, othellolens.viz as viz;"
        "viz.panel(torch.zeros(64)).to_dict();"
        "assert 'plotly' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_plotly_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(
        InputError, match=r'^figures need plotly: pip install "othellolens\[viz\]"$'
    ):
        board_figure([panel(torch.zeros(64))])
