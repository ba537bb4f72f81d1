"""Attribution, patching and interventions: the numbers that went in, under the right names."""

import json
from inspect import unwrap
from typing import Any

import pytest
import torch

from othellolens.circuits.attribution import Attribution, logit_attribution, written
from othellolens.circuits.pairs import find_pairs
from othellolens.circuits.patching import Patched, Place, attribution_patch, correlation, patch
from othellolens.errors import InputError
from othellolens.evaluation.cases import natural_cases
from othellolens.evaluation.counterfactuals import Counterfactual
from othellolens.evaluation.interventions import Outcome, intervene, oracle_null
from othellolens.evaluation.persistence import Persistence
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.othello.games import Games, random_games
from othellolens.viz import (
    Bar,
    Matrix,
    agreement,
    agreement_figure,
    attribution_bars,
    attribution_figure,
    bar_figure,
    matrix_figure,
    outcome_bars,
    outcomes_figure,
    patched_figure,
    patched_matrix,
    persistence_curves,
    persistence_figure,
)


def patched(places: list[Place], restored: list[float]) -> Patched:
    """Two pairs, 2 nats from clean to corrupted."""
    metric = torch.tensor(restored)[:, None].expand(-1, 2) * 2
    return Patched(tuple(places), metric, torch.full((2,), 2.0), torch.zeros(2))


def test_places_at_plies_make_sites_by_plies_back() -> None:
    places = [Place(Site("resid_post", layer), back=b) for layer in (0, 1) for b in (0, 1, None)]
    places += [Place(Site("mlp_post", 1), back=1, index=7)]
    found = patched_matrix(patched(places, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]))
    assert found.rows == ("resid_post.0", "resid_post.1", "mlp_post.1[7]")
    assert found.columns == ("1", "the last", "all plies")
    values = [[None if v is None else round(v, 4) for v in row] for row in found.values]
    assert values == [[0.2, 0.1, 0.3], [0.5, 0.4, 0.6], [0.7, None, None]]


def test_places_at_all_plies_make_layers_by_parts() -> None:
    places = [Place(Site("attn_out", 0)), Place(Site("z", 0, head=3)), Place(Site("attn_out", 1))]
    places += [Place(Site("mlp_post", 1), index=5)]
    figure = patched_figure(patched(places, [0.25, -0.5, 0.75, 1.0]))
    (heat,) = figure.data
    assert list(heat.y) == ["layer 0", "layer 1"]
    assert list(heat.x) == ["attn_out", "z 3", "mlp_post[5]"]
    assert [list(row) for row in heat.z] == [[0.25, -0.5, None], [0.75, None, 1.0]]
    assert (heat.zmin, heat.zmax) == (-1.0, 1.0)
    assert heat.customdata[0][1] == "layer 0, z 3: -0.500"
    assert figure.layout.yaxis.autorange == "reversed"
    with pytest.raises(InputError, match="attn_out.0 is patched twice"):
        patched_matrix(patched([places[0], places[0]], [0.0, 0.0]))


def test_two_ways_to_patch_are_compared_point_by_point(model: GPT) -> None:
    pairs = find_pairs(random_games(80, seed=4), 3, seed=1)
    places = [Place(Site("mlp_out", layer)) for layer in (0, 1)]
    exact, fast = patch(model, pairs, places), attribution_patch(model, pairs, places)
    points = agreement(exact, fast)
    assert [(p.place, p.pair) for p in points][:4] == [
        ("mlp_out.0", 0),
        ("mlp_out.0", 1),
        ("mlp_out.0", 2),
        ("mlp_out.1", 0),
    ]
    assert points[4].exact == pytest.approx(float(exact.metric[1, 1] - exact.corrupted[1]))
    assert points[4].fast == pytest.approx(float(fast.metric[1, 1] - fast.corrupted[1]))
    figure = agreement_figure(exact, fast)
    assert [trace.name for trace in figure.data] == ["layer 0", "layer 1"]
    assert list(figure.data[1].x) == [p.exact for p in points[3:]]
    assert list(figure.data[1].y) == [p.fast for p in points[3:]]
    assert f"r = {correlation(exact, fast):.3f}" in figure.layout.title.text
    json.dumps([point.to_dict() for point in points])
    with pytest.raises(InputError, match="not patched at the same places"):
        agreement(exact, patch(model, pairs, places[:1]))


def test_bars_are_the_parts_that_count_most(model: GPT, games: Games) -> None:
    found = logit_attribution(model, written(model, games[:2], by="head"))
    bars = attribution_bars(found, 7, game=1, count=4)
    assert [(bar.name, bar.value) for bar in bars] == found.top(7, game=1, count=4)
    (trace,) = attribution_figure(found, 7, game=1, count=4).data
    assert list(trace.y) == [bar.name for bar in bars]
    assert list(trace.x) == pytest.approx([bar.value for bar in bars])
    assert list(trace.marker.color) == ["#14508c" if bar.value >= 0 else "#a11a1a" for bar in bars]
    for what, game in ((61, 0), (0, 2)):
        with pytest.raises(InputError, match=f"there is no logit {what} of game {game}"):
            attribution_bars(found, what, game=game)


def test_the_share_that_bars_make_up_is_said() -> None:
    values = torch.tensor([3.0, -1.0, 1.0]).view(3, 1, 1)
    found = Attribution(("a", "b", "c"), values, torch.full((1, 1), 0.5))
    figure = attribution_figure(found, 0, count=2)
    assert figure.layout.xaxis.title.text == (
        "nats; the whole is 3.500, and these are 80% of what is added and taken"
    )


def lasting(error: list[list[float]], alive: list[list[bool]]) -> Persistence:
    values = torch.tensor(error)
    return Persistence(values, values > 1, torch.tensor(alive))


def test_what_lasts_ends_where_no_game_goes_on() -> None:
    found = lasting([[0.0, 2.0, 9.0], [4.0, 9.0, 9.0]], [[True, True, False], [True, False, False]])
    (curve,) = persistence_curves({"edit": found})
    assert curve.x == (0.0, 1.0) and curve.y == (2.0, 2.0)
    assert curve.low is not None and curve.high is not None
    assert curve.low[0] <= 2.0 <= curve.high[0]
    (line,) = persistence_figure({"edit": found}, "illegal").data
    assert list(line.y) == [0.5, 1.0] and line.name == "edit"
    with pytest.raises(InputError, match="what lasts is error or illegal: not 'kl'"):
        persistence_curves({"edit": found}, "kl")


def test_interventions_stand_beside_the_null_and_the_oracle(model: GPT) -> None:
    wanted = Counterfactual.of(natural_cases(12, seed=2), "flip")
    null, oracle = intervene(model, wanted), oracle_null(wanted)
    (bar,) = outcome_bars({"a < b": null})
    assert bar == Bar("a < b", *null.interval("error"))
    figure = outcomes_figure({"a < b": null}, null=null, oracle=oracle)
    (trace,) = figure.data
    assert list(trace.x) == [bar.value] and list(trace.y) == ["a &lt; b"]
    assert bar.high is not None and trace.error_x.array[0] == pytest.approx(bar.high - bar.value)
    at = {words.text.rsplit(" ", 1)[0]: line for words, line in _levels(figure)}
    assert at == {"null": null.mean("error"), "oracle null": oracle.mean("error")}
    with pytest.raises(InputError, match="measures are error, f1, kl, followed: not 'loss'"):
        unwrap(outcome_bars)({"a": null}, "loss")


def _levels(figure: Any) -> list[tuple[Any, float]]:
    lines = zip(figure.layout.annotations, figure.layout.shapes, strict=True)
    return [(words, line.x0) for words, line in lines]


def test_an_outcome_that_says_nothing_is_refused() -> None:
    none = torch.zeros(1)
    nothing = Outcome(none, none, none, none, torch.zeros(1, dtype=torch.bool))
    with pytest.raises(InputError, match="nothing to score"):
        outcomes_figure({"a": nothing})


def test_bad_charts() -> None:
    with pytest.raises(InputError, match="no bars"):
        bar_figure([])
    with pytest.raises(InputError, match="two bars have the same name"):
        bar_figure([Bar("a", 1.0), Bar("a", 2.0)])
    with pytest.raises(InputError, match="1 names of rows and 2 of columns do not fit"):
        Matrix(("a",), ("b", "c"), ((1.0,),))
    with pytest.raises(InputError, match="nothing in the matrix"):
        matrix_figure(Matrix((), (), ()))
    with pytest.raises(InputError, match="scales are diverging and probability: not 'x'"):
        unwrap(matrix_figure)(Matrix(("a",), ("b",), ((1.0,),)), scale="x")


def test_plain_data_is_ready_for_json() -> None:
    bar = Bar("a", float("nan"), 0.0, 1.0)
    matrix = Matrix(("a",), ("b", "c"), ((float("nan"), 1.0),), "across", "down")
    saved = json.loads(json.dumps([bar.to_dict(), matrix.to_dict()], allow_nan=False))
    assert saved[0] == {"name": "a", "value": None, "low": 0.0, "high": 1.0}
    assert saved[1]["values"] == [[None, 1.0]] and saved[1]["columns"] == ["b", "c"]
