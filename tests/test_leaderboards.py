"""The leaderboard: one command over sweeps and single runs, and what it writes."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from othellolens.cli import main
from othellolens.evaluation.bootstrap import Interval
from othellolens.evaluation.judgement import BOARD, FamilyScores, Judgement
from othellolens.evaluation.relations import stability
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import save_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.report.board import envelope, page
from othellolens.report.standings import Entry, markdown, rows, said, standings
from othellolens.sae.files import load_sae

TINY = ["--rows", "3000", "--batch", "500", "--window", "3000"]
PROBE = ["--rows", "3000", "--batch", "500"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, a sweep of two kinds and two seeds, and a board over it."""
    folder = tmp_path_factory.mktemp("board")
    gpt = folder / "gpt"
    gpt.mkdir()
    save_gpt(GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)), gpt)
    main(
        ["sweep", "--out", str(folder / "sweep"), "--model", str(gpt), "--site", "resid_post.1"]
        + ["--architectures", "topk", "relu", "--width", "32", "--l0", "4", "--seeds", "0", "1"]
        + ["--games", "60", "--held", "10", *TINY]
    )
    board(folder)
    return folder


def board(folder: Path, *more: str) -> None:
    main(
        ["leaderboard", str(folder / "sweep"), "--out", str(folder / "board"), "--games", "40"]
        + ["--floor-rows", "3000", *PROBE, *more]
    )


class Cells(HTMLParser):
    """The texts of a page's table cells, and how many plots it has."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.plots = 0
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.inside = tag == "td"
        self.plots += tag == "svg"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells.append(data)
            self.inside = False


def test_a_board_over_a_sweep(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board(home)
    shown = capsys.readouterr().out
    entries = json.loads((home / "board" / "leaderboard.json").read_text())
    groups = [entry["sae_cfg_dict"]["group"] for entry in entries]
    assert sorted(groups[:4]) == ["relu 32", "relu 32", "topk 32", "topk 32"]
    kinds = {entry["sae_cfg_dict"]["group"]: entry["sae_cfg_dict"]["kind"] for entry in entries}
    assert {group for group, kind in kinds.items() if kind == "ceiling"} == {
        "linear probe (supervised)", "neurons", "MLP neurons (mlp_post.1)",
    }  # fmt: skip
    assert {group for group, kind in kinds.items() if kind == "floor"} == {
        "PCA", "ICA", "random directions", "neurons of an untrained model",
        "SAE of an untrained model",
    }  # fmt: skip
    for entry in entries:
        metrics = entry["eval_result_metrics"]
        assert 0 <= metrics["othello_board"]["coverage"] <= 1
        assert metrics["othello_board"]["concepts"] > 100
        blind = any(word in entry["sae_lens_id"] for word in ("probe", "random"))
        assert ("reconstruction_quality" in metrics) != blind
    assert "resid_post.1, L0 4: " in shown
    page_cells = Cells()
    page_cells.feed((home / "board" / "index.html").read_text())
    assert page_cells.plots == 3
    assert "topk 32, L0 4" in page_cells.cells
    assert "| topk 32, L0 4 | encoder | 2 | 32 |" in (home / "board" / "leaderboard.md").read_text()


def test_what_was_judged_is_not_judged_again(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((home / "board" / "entries").iterdir())
    assert len(files) == 12
    before = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    board(home)
    after = {path: path.stat().st_mtime_ns for path in (home / "board" / "entries").iterdir()}
    assert [path for path in files if before[path] != after[path]] == files[:1]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        board(home, "--games", "30")
    assert stop.value.code == 2
    assert "take another --out, or these games" in capsys.readouterr().err


def test_encoders_of_one_name_are_judged_each(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep of the same name in another folder, with one SAE that is another one's weights."""
    shutil.copytree(home / "sweep", tmp_path / "sweep")
    weights = "sae_weights.safetensors"
    shutil.copy(
        home / "sweep" / "topk-w32-l4-s1" / weights, tmp_path / "sweep" / "topk-w32-l4-s0" / weights
    )
    told = tmp_path / "told.json"
    sweeps = [str(home / "sweep"), str(tmp_path / "sweep")]
    more = ["--games", "40", "--no-baselines", "--no-ranks", "--json", str(told)]
    main(["leaderboard", *sweeps, "--out", str(tmp_path / "board"), *more])
    entries = json.loads(told.read_text())
    scores = {
        entry["sae_lens_id"]: entry["eval_result_metrics"]["othello_board"]["coverage"]
        for entry in entries
    }
    assert len(scores) == 8
    other = scores[f"{tmp_path}/sweep/topk-w32-l4-s0"]
    assert (
        other
        == scores[f"{home}/sweep/topk-w32-l4-s1"]
        == scores[f"{tmp_path}/sweep/topk-w32-l4-s1"]
    )
    assert other != scores[f"{home}/sweep/topk-w32-l4-s0"]
    found = standings(Entry.from_dict(entry["eval_result_unstructured"]) for entry in entries)
    assert sorted(len(standing.entries) for standing in found) == [2, 2, 2, 2]
    assert f"topk 32 ({tmp_path}/sweep/topk-w32-l4-s0), L0 4" in capsys.readouterr().out


def test_a_single_run_says_what_it_asked_for_and_its_seed(home: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    runs = [str(home / "sweep" / f"topk-w32-l4-s{seed}") for seed in (0, 1)]
    more = ["--games", "40", "--no-baselines", "--no-ranks", "--json", str(told)]
    main(["leaderboard", *runs, "--out", str(tmp_path / "board"), *more])
    entries = [entry["sae_cfg_dict"] for entry in json.loads(told.read_text())]
    assert [(entry["l0_asked"], entry["seed"]) for entry in entries] == [(4, 0), (4, 1)]
    assert {entry["model"] for entry in entries} == {str(home / "gpt")}


def test_seeds_are_compared_vector_by_vector(home: Path) -> None:
    entries = json.loads((home / "board" / "leaderboard.json").read_text())
    sweep = [entry for entry in entries if entry["sae_cfg_dict"]["kind"] == "encoder"]
    for kind in ("relu", "topk"):
        mine = [e for e in sweep if e["sae_cfg_dict"]["group"] == f"{kind} 32"]
        vectors = [load_sae(home / "sweep" / f"{kind}-w32-l4-s{seed}").W_dec for seed in (0, 1)]
        right = stability(*(v.detach() for v in vectors)).matched
        assert 0 < right < 1
        found = [entry["eval_result_unstructured"]["cosine"] for entry in mine]
        assert found == [pytest.approx(right)] * 2
    floors = [entry for entry in entries if entry["sae_cfg_dict"]["kind"] == "floor"]
    assert {entry["eval_result_unstructured"]["cosine"] for entry in floors} == {None}


def test_further_families_have_a_table_of_their_own(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "board", str(home / "sweep" / "topk-w32-l4-s0")
    more = ["--out", str(out), "--games", "40", "--no-baselines", "--no-ranks"]
    main(["leaderboard", run, *more])
    assert "stable mine" not in capsys.readouterr().out
    main(["leaderboard", run, *more, "--families-of", "stable mine", "phase", "mine"])
    assert "stable mine" in capsys.readouterr().out
    (told,) = json.loads((out / "leaderboard.json").read_text())
    assert told["eval_result_metrics"]["othello_phase"]["concepts"] == 6
    families = Entry.from_dict(told["eval_result_unstructured"]).judgement.families
    assert list(families) == [BOARD, "empty", "legal", "stable mine", "phase"]
    assert "| phase | topk 32, L0 4 | 6 |" in (out / "leaderboard.md").read_text()
    cells = Cells()
    cells.feed((out / "index.html").read_text())
    assert "stable mine" in cells.cells
    with pytest.raises(SystemExit):
        main(["leaderboard", run, *more, "--families-of", "edges"])
    assert "no concept family 'edges': choose of mine" in capsys.readouterr().err


def test_nothing_to_judge_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["leaderboard", "--out", str(tmp_path / "board")])
    assert "nothing to judge: name the folders" in capsys.readouterr().err
    assert not (tmp_path / "board").exists()


def test_a_sweep_that_is_not_finished_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "saes.json").write_text((home / "sweep" / "saes.json").read_text())
    with pytest.raises(SystemExit):
        main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "board"), "--games", "10"])
    assert "is not finished: othellolens sweep --resume" in capsys.readouterr().err


def entry(group: str, seed: int, value: float, *, kind: str = "encoder") -> Entry:
    sure = Interval(value, value - 0.01, value + 0.01)
    families = (128, sure, value, value, sure, sure, 0.3, 0.2, sure, 2.0, 0.1, (value,) * 128)
    scores = FamilyScores(*families, 100, 12, 0.9, 0.8)
    judged = Judgement(64, 1000, {BOARD: scores}, 8.0, 0.1, 0.0, fvu=0.05, kl=0.01)
    asked = 8.0 if kind == "encoder" else None
    return Entry(f"{group}/{seed}", kind, group, "resid_post.3", asked, seed, judged)


def test_what_the_table_says_follows_from_the_numbers() -> None:
    clear = [entry("a", seed, 0.6 + 0.001 * seed) for seed in range(3)]
    close = [entry("b", seed, 0.598 + 0.004 * seed) for seed in range(3)]
    low = [entry("c", seed, 0.4 + 0.001 * seed) for seed in range(3)]
    bar = [entry("neurons", 0, 0.5, kind="ceiling")]
    lines = said(standings([*low, *close, *bar, *clear]))
    assert "b has the best coverage, 0.602; next a, 0.601 (within two deviations" in lines[0]
    assert lines[-1].endswith(
        "2 of 3 kinds of encoder have a better boards F1 than neurons (0.500)"
    )
    lines = said(standings([*low, *clear]))
    assert "a has the best coverage, 0.601; next c, 0.401 (beyond two deviations" in lines[0]
    found = standings([*low, *clear, *bar])
    assert [standing.first.group for standing in found] == ["a", "neurons", "c"]
    row = rows(found)[0]
    assert row["coverage"] == "0.601 ±0.001 [0.591, 0.611]"
    assert row["seeds"] == 3
    assert "| neurons | ceiling | 1 |" in markdown(found)
    assert page(found, "held").count("<circle") > 0


def test_seeds_agree_only_where_something_was_found() -> None:
    none = standings(entry("a", seed, 0.5) for seed in range(3))
    assert rows(none)[0]["same concepts"] is None
    some = standings(entry("a", seed, value) for seed, value in enumerate((0.5, 0.9, 0.9)))
    assert rows(some)[0]["same concepts"] == pytest.approx(1 / 3)
    assert rows(standings([entry("a", 0, 0.9)]))[0]["same concepts"] is None


def test_only_entries_that_differ_by_their_seed_stand_together() -> None:
    seeds = [entry("a", seed, 0.6) for seed in range(3)]
    longer = [replace(one, kin="longer", name=f"b/{one.seed}") for one in seeds]
    again = replace(seeds[0], name="c/0")
    found = standings([*seeds, *longer, again])
    assert sorted(len(standing.entries) for standing in found) == [1, 3, 3]
    labels = {standing.label for standing in found}
    assert labels == {"a (a/0), L0 8", "a (b/0), L0 8", "a (c/0), L0 8"}
    models = [replace(one, model=f"model {number}") for number, one in enumerate(seeds[:2])]
    places = [standing.first.site for standing in standings(models)]
    assert places == ["resid_post.3 of model 0", "resid_post.3 of model 1"]


def test_an_entry_survives_being_saved() -> None:
    one = entry("a", 0, 0.5)
    assert Entry.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    told = envelope(one, "held")
    assert told["eval_result_metrics"]["othello_board"]["coverage"] == 0.5
    assert told["eval_result_metrics"]["sparsity"] == {"l0": 8.0}
    assert "model_performance_preservation" not in told["eval_result_metrics"]


def test_sparse_probes_of_a_sweep(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = home / "sparse.json"
    main(
        ["sparse-probe", str(home / "sweep"), "--games", "30", "--rows", "400", "--sizes", "1", "4"]
        + ["--families-of", "mine", "phase", "--json", str(told)]
    )
    shown = capsys.readouterr().out
    assert "topk 32, L0 4, seed 1" in shown
    assert "neurons of resid_post.1" in shown
    encoders = json.loads(told.read_text())
    assert len(encoders) == 5
    assert encoders[0]["sizes"] == [1, 4, 32]
    for one in encoders[0]["concepts"]:
        assert len(one["f1"]) == 3
        assert one["needed"] in (1, 4, 32)


def test_features_of_a_run_are_edited(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(path for path in sorted((home / "sweep").iterdir()) if path.is_dir())
    told = home / "causal.json"
    main(
        ["causal", str(run), "--games", "40", "--edited", "12", "--cases", "20", "--least", "0.02"]
        + ["--json", str(told)]
    )
    shown = capsys.readouterr().out
    assert "the rules, not edited (oracle null)" in shown
    result = json.loads(told.read_text())
    assert [row["edit"] for row in result["edits"]] == sorted(3 * ["ablate", "add", "swap"])
    for row in result["edits"]:
        value, low, high = row["claimed"]
        assert low <= value <= high
    with pytest.raises(SystemExit):
        main(["causal", str(run), "--games", "20", "--least", "0.999"])
    assert "lower --least" in capsys.readouterr().err
