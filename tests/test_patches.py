"""The verbs `patch` and `trace`: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import load_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.othello.boards import unpack
from othellolens.othello.games import random_games
from othellolens.othello.squares import name
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import train_sae
from othellolens.sae.topk import TopK
from othellolens.tracing import load_replacement, predictions

PLAN = SAEPlan(rows=8000, batch=200, window=400, lr=3e-3)


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAE behind every block of mini."""
    folder, model = tmp_path_factory.mktemp("saes"), load_gpt("mini")
    for layer in range(model.cfg.n_layers):
        site = Site("resid_post", layer)
        sae = train_sae(TopK(48, k=2), model, site, random_games(40, seed=layer), plan=PLAN)
        sae.save(folder / f"layer-{layer}")
    return folder


@pytest.fixture(scope="module")
def transcoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small transcoder of every MLP of mini."""
    folder, model = tmp_path_factory.mktemp("transcoders"), load_gpt("mini")
    for layer in range(model.cfg.n_layers):
        site, target = Site("ln2", layer), Site("mlp_out", layer)
        games = random_games(40, seed=layer)
        sae = train_sae(TopK(48, k=2), model, site, games, target=target, plan=PLAN)
        sae.save(folder / f"layer-{layer}")
    return folder


def refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_patching_says_how_much_each_part_restores(
    saes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        ["patch", "--count", "6", "--between", "2", "--neurons", "3", "--ablated", "3"]
        + ["--features", str(saes / "layer-3"), "--json", str(tmp_path / "out.json")]
    )
    said = capsys.readouterr().out
    for what in ("6 pairs of random", "r, 2 points", "resample", "resid_post.3["):
        assert what in said
    found = json.loads((tmp_path / "out.json").read_text())
    by_place = {row["layers"]: row["patched"] for row in found["layers"]}
    # Histories differ in the last move: behind it the stream is everything, before it nothing.
    assert by_place["resid_post.2, 0 before the last"] == pytest.approx(1.0)
    assert by_place["resid_post.2, 1 before the last"] == 0.0
    assert len(found["heads"]) == 40 and len(found["neurons"]) == len(found["features"]) == 3
    assert [row["places"] for row in found["correlations"]] == [
        "layers",
        "heads",
        "neurons",
        "features",
    ]
    assert len(found["ablations"]) == 10
    assert all(row["zero"] > 0 for row in found["ablations"])


def test_a_pair_of_ones_own_is_patched(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--between", "1", "--neurons", "1", "--ablated", "0"]
    main(["patch", "--clean", "f5d6c3", "--corrupted", "f5d6c5", *few])
    assert "1 typed; logit of one move less another's (" in capsys.readouterr().out
    assert "belong together" in refused(["patch", "--clean", "f5d6c3", *few], capsys)


def test_what_cannot_be_patched_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 points between" in refused(["patch", "--between", "0"], capsys)
    assert "this model has 5120" in refused(["patch", "--count", "2", "--neurons", "9999"], capsys)


@pytest.mark.parametrize("kind", ["saes", "transcoders"])
def test_predictions_are_traced_tested_and_held_against_the_rules(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder: Path = request.getfixturevalue(kind)
    main(
        ["trace", str(folder), "--count", "4", "--held", "10", "--widest", "8"]
        + ["--json", str(tmp_path / "out.json")]
    )
    said = capsys.readouterr().out
    for what in ("feeds the logit", "4 predictions", "influence kept", "by chance"):
        assert what in said
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found["predictions"]) == 4 and len(found["flanking lines"]) == 3
    graphs = [prediction["graph"] for prediction in found["predictions"]]
    assert all(graph["nodes"][-1]["kind"] == "logit" for graph in graphs)
    # So small an encoder may leave the whole of one prediction to its errors, but not of all.
    nodes = [node for graph in graphs for node in graph["nodes"]]
    features = [node for node in nodes if node["kind"] == "feature"]
    assert features and all(len(node["board"]) == 64 and node["label"] for node in features)
    assert all(max(s, t) < len(graph["nodes"]) for graph in graphs for s, t, _ in graph["edges"])
    # With everything that has influence kept, the model is itself again, or nearly so.
    last = found["faithfulness"][-1]
    assert last["influence kept"] == "100%"


def test_one_history_is_traced_and_drawn(
    saes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "graph.html"
    command = ["trace", str(saes), "--history", "f5d6c3", "--move", "d3", "--held", "10"]
    main([*command, "--figure", str(page)])
    said = capsys.readouterr().out
    assert "f5d6c3, then d3?" in said and "1 prediction;" in said and page.as_uri() in said
    assert "f5d6c3, then d3" in page.read_text()


def test_a_move_that_the_rules_forbid_is_traced_too(
    saes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["trace", str(saes), "--history", "f5d6c3", "--move", "a1", "--held", "10"])
    said = capsys.readouterr().out
    assert "f5d6c3, then a1?" in said and "a1 is not legal there" in said


def test_predictions_are_of_legal_moves() -> None:
    model = load_gpt("mini")
    for history, square in predictions(model, 3, (8, 12), seed=1):
        assert 8 <= int(history.lengths()[0]) <= 12
        assert bool(unpack(history.replay()[-1:].legal())[0, square]), name(square)


def test_what_cannot_be_traced_is_refused(
    saes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no folders of SAEs" in refused(["trace", str(tmp_path)], capsys)
    few = ["trace", str(saes), "--held", "4"]
    assert "of 0 to 5 moves" in refused([*few, "--plies", "0", "5"], capsys)
    assert "d4 is of the centre" in refused([*few, "--history", "f5", "--move", "d4"], capsys)
    twice = tmp_path / "twice"
    twice.mkdir()
    for copy in ("a", "b"):
        (twice / copy).symlink_to(saes / "layer-0")
    with pytest.raises(InputError, match="are of the same layer"):
        load_replacement(twice, load_gpt("mini"))
    narrow = GPT(GPTConfig(n_layers=5, d_model=64, n_heads=4, d_mlp=64))
    with pytest.raises(InputError, match="reads vectors of 256"):
        load_replacement(saes, narrow)
