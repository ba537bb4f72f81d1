"""Next moves on boards: the model's own numbers, by layer, by position, around an edit."""

from typing import Any

import pytest
import torch
from reference.othello_by_lists import replay

from othellolens.circuits.attribution import board_lens
from othellolens.errors import InputError
from othellolens.evaluation.cases import natural_cases
from othellolens.evaluation.counterfactuals import Counterfactual
from othellolens.gpt.model import GPT
from othellolens.gpt.tokens import SQUARE_OF_TOKEN, tokens
from othellolens.othello.games import Games
from othellolens.othello.squares import CENTRE, name
from othellolens.viz import (
    edit_figure,
    edit_panels,
    lens_figure,
    lens_panels,
    move_panel,
    move_panels,
    moves_figure,
    on_squares,
    saliency_figure,
)


def boards_of(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.name == "values"]


def at(board: Any, square: int) -> Any:
    return board.z[square % 8][square // 8]


def test_tokens_become_squares() -> None:
    found = on_squares(torch.arange(61).float())
    assert float(found[44]) == 41 and float(found[0]) == 1 and float(found[63]) == 60
    assert bool(found[list(CENTRE)].isnan().all()) and int(found.isnan().sum()) == 4
    with pytest.raises(InputError, match="60 values: there are 61 tokens"):
        on_squares(torch.zeros(60))


def test_the_lens_is_drawn_step_by_step(model: GPT, games: Games) -> None:
    _, cache = model.run_with_cache(tokens(games)[:, :59])
    found, boards = board_lens(cache, 10, game=0), games[:1].replay()[10:11]
    panels = lens_panels(found, boards)
    assert [panel.title for panel in panels] == ["embedding", "after layer 0", "after layer 1"]
    legal = replay(games.moves[0, :11].tolist())[-1].legal
    assert all(set(panel.marks) == set(legal) for panel in panels)
    figure = lens_figure(found, boards)
    for row, board in enumerate(boards_of(figure)):
        for square in (0, 7, 44, 56, 63):
            assert at(board, square) == pytest.approx(float(found[row, square]))
    largest = float(found[-1].nan_to_num().max())
    assert figure.layout.coloraxis.cmax == pytest.approx(largest)
    with pytest.raises(InputError, match="3 boards and 1 titles"):
        lens_panels(found, titles=["one"])


def test_next_moves_are_those_of_the_model(model: GPT, games: Games) -> None:
    game = games[3:4]
    logits = model(tokens(game)[:, :59]).detach()[0]
    panels = move_panels(model, game, [0, 20])
    for panel, ply in zip(panels, (0, 20), strict=True):
        likely = logits[ply].softmax(-1)
        after = replay(game.moves[0, : ply + 1].tolist())[-1]
        assert set(panel.marks) == set(after.legal) and panel.black == after.black
        assert panel.last == int(game.moves[0, ply])
        assert panel.title == f"after {ply + 1}. {name(panel.last)}"
        for token in range(1, 61):
            square = int(SQUARE_OF_TOKEN[token])
            assert float(panel.values[square]) == pytest.approx(float(likely[token]), abs=1e-6)
        wrong = 1 - sum(float(panel.values[s]) for s in after.legal)
        assert panel.text.endswith(f"{wrong:.2%} on illegal moves")
    read = min(int(game.lengths()[0]), 59)
    assert move_panels(model, game)[0].last == int(game.moves[0, read - 1])
    assert len(boards_of(moves_figure(model, game, [0, 20]))) == 2


def test_positions_that_are_not_there(model: GPT, games: Games) -> None:
    with pytest.raises(InputError, match="there is no ply 59"):
        move_panels(model, games[:1], [59])
    with pytest.raises(InputError, match="32 games: look at one"):
        move_panels(model, games)


def test_a_finished_game_says_so(games: Games) -> None:
    boards = games[:1].replay()[-1:]
    assert move_panel(torch.zeros(61), boards).text == "the game is over"


def test_an_edit_is_seen_before_after_and_as_a_difference() -> None:
    wanted = Counterfactual.of(natural_cases(3, seed=2), "flip")
    clean, edited = torch.randn(2, 3, 61)
    before, after, change = edit_panels(wanted, clean, edited, case=1)
    assert torch.equal(before.values.isnan(), change.values.isnan())
    one, other = (on_squares(x[1].softmax(-1)) for x in (clean, edited))
    torch.testing.assert_close(change.values, other - one, equal_nan=True)
    legal, wish = (
        {s for s in range(64) if (int(boards.legal()[1]) >> s) & 1}
        for boards in (wanted.before, wanted.after)
    )
    assert (set(before.marks), set(after.marks)) == (legal, wish)
    assert set(change.marks) == legal ^ wish
    square = int(wanted.changes().square[1])
    assert after.title.startswith(f"edited: {name(square)} to ")
    assert before.discs is not None and after.discs is not None
    assert [s for s in range(64) if before.discs[s] != after.discs[s]] == [square]
    figure = edit_figure(wanted, clean, edited, case=1)
    assert at(boards_of(figure)[2], 44) == pytest.approx(float(change.values[44]))
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax
    with pytest.raises(InputError, match="there is no case 3"):
        edit_panels(wanted, clean, edited, case=3)
    with pytest.raises(InputError, match="3 cases, 2 and 2 rows of logits"):
        edit_panels(wanted, clean[:2], edited[:2])


def test_saliency_outlines_the_move(games: Games) -> None:
    values = torch.full((64,), torch.nan)
    values[28] = 0.5
    figure = saliency_figure(values, games[:1].replay()[:1], 37)
    (marks,) = (trace for trace in figure.data if trace.name == "marks")
    assert (list(marks.x), list(marks.y)) == ([4], [5])
    assert at(boards_of(figure)[0], 28) == 0.5 and at(boards_of(figure)[0], 0) is None
    assert figure.layout.annotations[0].text == "on what e6 rests"
