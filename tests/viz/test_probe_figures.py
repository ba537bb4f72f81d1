"""Readings, cosines and accuracies: the numbers that went in, by square, layer and ply."""

import json
from inspect import unwrap
from typing import Any

import pytest
import torch

from othellolens.errors import InputError
from othellolens.evaluation.edits import Reading
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games
from othellolens.viz import (
    cosines_figure,
    layer_curves,
    layers_figure,
    mine_less_theirs,
    plies_figure,
    reading_panels,
    readings_figure,
    squares_figure,
)


def reading(layer: int, states: int = 3) -> Reading:
    drawn = torch.Generator().manual_seed(layer)
    return Reading(
        Site("resid_post", layer),
        torch.randn(states, 64, 32, generator=drawn),
        torch.randn(states, 64, generator=drawn),
    )


def test_a_reading_says_mine_less_theirs() -> None:
    one, x = reading(0), torch.randn(32)
    logits = [[float(one.weight[k, s] @ x + one.bias[k, s]) for k in range(3)] for s in range(64)]
    found, likely = mine_less_theirs(one, x, "logit"), mine_less_theirs(one, x)
    for square in range(64):
        mine, theirs, _ = logits[square]
        assert float(found[square]) == pytest.approx(mine - theirs, abs=1e-4)
        shares = torch.tensor(logits[square]).softmax(0)
        assert float(likely[square]) == pytest.approx(float(shares[0] - shares[1]), abs=1e-5)


def test_readings_are_drawn_at_their_position(model: GPT, games: Games) -> None:
    _, cache = model.run_with_cache(tokens(games)[:, :59])
    lengths = games.lengths()
    boards = games.replay()[int(lengths[:2].sum()) + 9 :][:1]
    assert boards.at[0].tolist() == [2, 9]
    readings = [reading(0), reading(1)]
    panels = reading_panels(cache, readings, boards, game=2, what="logit")
    true = boards.squares()[0].int().argmax(0)
    for one, panel in zip(readings, panels, strict=True):
        x = cache[one.site.hook_name][2, 9]
        torch.testing.assert_close(panel.values, mine_less_theirs(one, x, "logit"))
        guess = (one.weight @ x + one.bias).argmax(0)
        assert panel.text == f"{int((guess == true).sum())} of 64 squares right"
        assert panel.title == str(one.site)
    figure = readings_figure(cache, readings, boards, game=2)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-1.0, 1.0)


def test_bad_readings(model: GPT, games: Games) -> None:
    with pytest.raises(InputError, match="has 1 states of a square, not 3"):
        mine_less_theirs(reading(0, states=1), torch.zeros(32))
    with pytest.raises(InputError, match="is of vectors of 32, not of 31"):
        mine_less_theirs(reading(0), torch.zeros(31))
    with pytest.raises(InputError, match="a logit or a probability: not 'odds'"):
        unwrap(mine_less_theirs)(reading(0), torch.zeros(32), "odds")


def test_cosines_lie_where_their_squares_do() -> None:
    x = torch.zeros(64, 64)
    x[44, 3] = 0.25
    x[0, 0] = torch.nan
    (heat,) = cosines_figure(x).data
    assert heat.y[44] == "f5" and heat.x[3] == "a4"
    assert heat.z[44][3] == 0.25 and heat.z[3][44] == 0.0 and heat.z[0][0] is None
    assert heat.customdata[44][3] == "f5, a4: 0.250" and heat.customdata[0][0] == "a1, a1: no value"
    assert (heat.zmin, heat.zmax) == (-0.25, 0.25)
    with pytest.raises(InputError, match="give one for 64 x 64"):
        cosines_figure(torch.zeros(63, 63))


def test_layers_have_curves_with_intervals_and_baselines_lines() -> None:
    found: dict[str, Any] = {
        "linear": [(0.9, 0.88, 0.91), (0.95, 0.94, 0.97)],
        "shuffled": [0.6, 0.61],
    }
    figure = layers_figure(found, layers=["resid_post.0", "resid_post.1"], baselines={"none": 0.62})
    linear, shuffled = figure.data
    assert list(linear.x) == ["resid_post.0", "resid_post.1"] and list(linear.y) == [0.9, 0.95]
    assert list(linear.error_y.array) == pytest.approx([0.01, 0.02])
    assert list(linear.error_y.arrayminus) == pytest.approx([0.02, 0.01])
    assert list(shuffled.y) == [0.6, 0.61] and shuffled.error_y.array is None
    (line,) = figure.layout.shapes
    assert line.y0 == line.y1 == 0.62 and figure.layout.annotations[0].text == "none 62.0%"
    curve = layer_curves(found)[0]
    assert json.loads(json.dumps(curve.to_dict()))["high"] == [0.91, 0.97]
    with pytest.raises(InputError, match="'shuffled' needs a value at each x"):
        layer_curves({"linear": [0.9, 0.9], "shuffled": [0.6]})
    with pytest.raises(InputError, match="no curves"):
        layers_figure({})


def test_accuracy_by_square_is_a_board_and_by_ply_a_curve() -> None:
    shares = torch.linspace(0.7, 0.99, 64)
    figure = squares_figure({"a": shares})
    board = next(trace for trace in figure.data if trace.name == "values")
    assert board.z[4][5] == pytest.approx(float(shares[44]))
    assert figure.layout.coloraxis.cmin == pytest.approx(0.7)
    (line,) = plies_figure({"cells": torch.tensor([1.0, torch.nan, 0.5])}).data
    assert list(line.x) == [0, 1, 2] and list(line.y) == [1.0, None, 0.5]
