"""The verbs `fit-probe` and `probe`: what they print, write and refuse."""

import json
from pathlib import Path
from typing import cast

import pytest
import torch

from othellolens.cli import main
from othellolens.concepts import family
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.probes.fact_accuracy import fact_accuracies
from othellolens.probes.facts import FactProbe
from othellolens.probes.files import load_probe
from othellolens.probes.fit import ProbePlan, ProbeTarget, fit_probes

SMALL = ["--games", "60", "--held", "4", "--rows", "2000", "--batch", "500"]


def test_every_site_stands_beside_its_baselines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(
        ["probe", "mini", "--sites", "resid_post.0", "z.3.1", "--kinds", "linear", *SMALL]
        + ["--by", "square", "ply", "geometry", "--json", str(tmp_path / "out.json")]
    )
    said = capsys.readouterr().out
    for what in ("without a model", "untrained cells", "shuffled boards", "right by square"):
        assert what in said
    assert "right by ply" in said and "colour, odd and even" in said
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [(row["site"], row["probe"]) for row in rows] == [
        ("resid_post.0", "linear"),
        ("z.3.1", "linear"),
    ]
    assert all(0 <= row["cell"] <= 1 and len(row["by_square"]) == 64 for row in rows)


def test_facts_and_their_floors(capsys: pytest.CaptureFixture[str]) -> None:
    main(["probe", "mini", "--sites", "resid_post.3", "--families", "flipped", "legal", *SMALL])
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[:4] == ["site", "family", "facts", "mean"]
    assert [line.split()[1:3] for line in said[2:]] == [["flipped", "60"], ["legal", "60"]]


def test_one_probe_is_kept_whatever_its_kind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, more in (("mlp", ["--kind", "mlp"]), ("facts", ["--families", "played"])):
        main(["fit-probe", "--out", str(tmp_path / name), "--site", "attn_out.2", *more, *SMALL])
    assert "cells" in capsys.readouterr().out
    assert load_probe(tmp_path / "mlp").metadata["site"] == "attn_out.2"
    assert set(load_probe(tmp_path / "facts").metadata["accuracy"]) == {"played"}


def test_boards_have_squares_and_facts_do_not() -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["probe", "mini", "--families", "legal", "--by", "ply", *SMALL])
    assert stopped.value.code == 2


def test_fact_scores_equal_loops() -> None:
    player = GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()
    site, games = Site("mlp_out", 0), random_games(5, seed=1)
    target = ProbeTarget(site, families=("played", "legal"))
    (probe,) = fit_probes(player, [target], games, plan=ProbePlan(rows=9000, batch=300))
    probe = cast(FactProbe, probe)
    (found,) = fact_accuracies([(site, probe)], player, games, batch=2)
    from othellolens.activations.rows import Rows, read_rows

    rows = Rows.cat(list(read_rows(player, site, games)))
    guess = probe.encode(rows.x) > 0.5
    boards = games.replay()
    truth = torch.cat([family("played").of(boards), family("legal").of(boards)], 1)
    truth = truth[boards.at[:, 1] < 59]
    scores = found.f1()
    for fact in range(0, truth.shape[1], 7):
        pairs = list(zip(guess[:, fact].tolist(), truth[:, fact].tolist(), strict=True))
        hits = sum(a and b for a, b in pairs)
        called, holds = sum(a for a, _ in pairs), sum(b for _, b in pairs)
        if holds:
            assert float(scores[fact]) == pytest.approx(2 * hits / (called + holds))
            always = 2 * holds / (len(pairs) + holds)
            assert float(found.always()[fact]) == pytest.approx(always)
        else:
            assert torch.isnan(scores[fact])
