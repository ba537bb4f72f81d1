"""Every verb end to end on tiny data; bad input ends in one line and status 2."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from othellolens.cli import VERBS, main
from othellolens.gpt.model import GPT
from othellolens.gpt.runs import save_gpt
from othellolens.gpt.shape import GPTConfig
from othellolens.othello.games import random_games
from othellolens.othello.records import load_games
from othellolens.runs import load_lens

TINY = ["--rows", "4000", "--batch", "500"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny untrained model, an SAE and a probe on it, and games."""
    folder = tmp_path_factory.mktemp("home")
    gpt = folder / "gpt"
    gpt.mkdir()
    save_gpt(GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64)), gpt)
    there = ["--model", str(gpt), "--site", "resid_post.1", "--games", "40"]
    main(
        [
            "train-sae",
            "--out",
            str(folder / "sae"),
            *there,
            *TINY,
            "batchtopk",
            "--width",
            "32",
            "--k",
            "4",
        ]
    )
    main(["fit-probe", "--out", str(folder / "probe"), *there, "--held", "5", *TINY])
    main(["games", "--count", "12", "--out", str(folder / "games.txt"), "--seed", "7"])
    return folder


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command writes."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    shown = capsys.readouterr()
    lines = shown.err.strip().split("\n")
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("othellolens: ")
    return lines[0]


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert f"othellolens {verb}" in capsys.readouterr().out


def test_games_are_written_as_array_and_as_text(tmp_path: Path) -> None:
    main(["games", "--count", "30", "--out", str(tmp_path / "g.npy"), "--seed", "7"])
    main(["games", "--count", "30", "--out", str(tmp_path / "g.txt"), "--seed", "7"])
    array = np.load(tmp_path / "g.npy")
    lines = (tmp_path / "g.txt").read_text().splitlines()
    assert array.shape == (30, 60)
    assert [len(line) // 2 for line in lines] == (array >= 0).sum(1).tolist()


def test_many_games_are_written_as_a_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "train")
    main(["games", "--count", "30", "--out", folder, "--seed", "7", "--first", "10"])
    assert torch.equal(load_games(folder).moves, random_games(30, seed=7, first=10).moves)
    assert load_games(folder).origin == "random seed=7 games=10..40"
    main(
        [
            "games",
            "--count",
            "8",
            "--out",
            str(tmp_path / "held.npy"),
            "--seed",
            "7",
            "--first",
            "36",
        ]
    )
    capsys.readouterr()
    main(
        [
            "games",
            "--census",
            folder,
            str(tmp_path / "held.npy"),
            "--json",
            str(tmp_path / "c.json"),
        ]
    )
    assert "in the first" in capsys.readouterr().out
    found = json.loads((tmp_path / "c.json").read_text())
    assert [line["games"] for line in found] == [30, 8]
    assert [line["in the first"] for line in found] == [None, 4]
    assert "exists" in refused(["games", "--count", "30", "--out", folder], capsys)
    assert "finished" in refused(["games", "--count", "30", "--out", folder, "--resume"], capsys)
    (tmp_path / "train/games-000000.npy").write_bytes(b"")
    assert "truncated" in refused(["games", "--census", folder], capsys)


def test_evaluate_prints_floors_and_ceilings(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    out = home / "verdict.json"
    main(
        [
            "evaluate",
            str(home / "sae"),
            "--games",
            "20",
            "--json",
            str(out),
            "--rows",
            "2000",
            "--batch",
            "500",
        ]
    )
    rows = json.loads(out.read_text())
    names = [row["encoder"] for row in rows]
    assert names[0] == str(home / "sae")
    assert names[1:] == [
        "linear probe (supervised)",
        "neurons",
        "PCA",
        "random directions",
        "SAE of an untrained model",
    ]
    assert all(0 <= row["coverage"] <= 1 for row in rows)
    assert rows[0]["l0"] == pytest.approx(4, rel=0.5)
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_evaluate_a_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(home / "gpt"), "--games", "6", *TINY])
    shown = capsys.readouterr().out
    assert re.search(
        r"top-1 illegal: strict \d+\.\d+% \[\d+\.\d+%, \d+\.\d+%\], lenient \d+\.\d+%", shown
    )
    assert shown.count("resid_post.") == 2


def test_report_and_show(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = home / "report"
    main(["report", str(home / "sae"), "--out", str(out), "--games", "12"])
    assert (out / "index.html").is_file()
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    main(["show", str(out)])
    assert opened == [(out / "index.html").resolve().as_uri()]
    line = refused(["report", str(home / "sae"), "--out", str(out), "--games", "12"], capsys)
    assert "exists" in line
    main(["report", str(home / "sae"), "--out", str(out), "--games", "12", "--replace"])


def test_show_draws_a_position(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["show", "f5d6"])
    assert capsys.readouterr().out == (
        "f5d6\n"
        "  a b c d e f g h   X to move\n"
        "1 . . . . . . . .\n"
        "2 . . . . . . . .\n"
        "3 . . * . . . . .\n"
        "4 . . * O X . . .\n"
        "5 . . * O X X . .\n"
        "6 . . * O . . . .\n"
        "7 . . * . . . . .\n"
        "8 . . . . . . . .\n"
    )
    main(["show", str(home / "games.txt"), "--game", "3", "--ply", "10"])
    assert "to move" in capsys.readouterr().out


@pytest.mark.parametrize("moves", ["f5d6c3", "f5 d6 c3", "F5 D6 C3"])
def test_show_takes_moves_as_players_write_them(
    moves: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["show", moves])
    assert capsys.readouterr().out.startswith("f5d6c3\n")


def test_doctor_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    shown = capsys.readouterr().out
    assert "ok  perft 9: 3005288" in shown
    assert "BAD" not in shown


def test_bad_input_is_refused_in_one_line(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sae, gpt, new = str(home / "sae"), str(home / "gpt"), str(tmp_path / "new")
    on = ["--model", gpt, "--games", "5"]
    bad = tmp_path / "bad"
    cases: list[tuple[list[str], str]] = [
        (["show", "f5z9"], "'z9' is not a square"),
        (["show", "f5f5"], r"game 0, ply 1: f5 is illegal here; legal were: d6 f4 f6"),
        (["show", str(home / "games.txt"), "--game", "12"], "there are 12"),
        (["show", str(home / "games.txt"), "--ply", "60"], "ply 60"),
        (["show", str(home)], "index.html"),
        (["train-sae", "--out", new, *on, "--site", "resid_post.2"], "2 layers, 0 to 1"),
        (["train-sae", "--out", new, *on, "--site", "residual.1"], "resid_post"),
        (["train-sae", "--out", new, *on, "batchtopk", "--width", "8", "--k", "9"], "k is 9"),
        (["train-sae", "--out", sae, *on], "exists"),
        (["train-sae", "--out", new, "--model", "maxi"], "no model 'maxi'"),
        (["train-gpt", "--out", gpt], "exists"),
        (
            ["fit-probe", "--out", new, "--model", gpt, "--games", str(bad / "empty.npy")],
            "is empty",
        ),
        (["fit-probe", "--out", new, "--model", gpt, "--games", str(bad / "cut.npy")], "truncated"),
        (
            ["fit-probe", "--out", new, "--model", gpt, "--games", str(bad / "illegal.txt")],
            r"game 1, ply 1: a1 is illegal here; legal were: d6",
        ),
        (
            ["fit-probe", "--out", new, "--model", gpt, "--games", str(bad / "nonsense.txt")],
            "line 2",
        ),
        (
            ["fit-probe", "--out", new, "--model", gpt, "--games", str(bad / "no such file")],
            "no file",
        ),
        (["evaluate", str(bad)], "holds no SAE of .* and no probe"),
        (["evaluate", str(bad / "nowhere")], "no folder"),
        (["evaluate", str(bad / "model.pth")], "no file of weights: fetch it again"),
        (["evaluate", "synthetic"], r"cannot write .*Not a directory.*set OTHELLOLENS_CACHE"),
        (["games", "--count", "5", "--out", str(home / "games.txt")], "exists"),
        (["games", "--count", "5", "--out", str(tmp_path / "games.csv")], "in one of these ways"),
    ]
    bad.mkdir()
    (bad / "empty.npy").write_bytes(b"")
    (bad / "model.pth").write_bytes(b"only words")
    monkeypatch.setenv("OTHELLOLENS_CACHE", str(bad / "empty.npy/cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    np.save(bad / "whole.npy", np.zeros((3, 60), dtype=np.int8))
    (bad / "cut.npy").write_bytes((bad / "whole.npy").read_bytes()[:150])
    (bad / "illegal.txt").write_text("f5d6\nf5a1\n")
    (bad / "nonsense.txt").write_text("f5d6\nhello world\n")
    before = sorted(p for p in home.rglob("*"))
    for args, text in cases:
        line = refused(args, capsys)
        assert re.search(text, line), (args, line)
    assert sorted(p for p in home.rglob("*")) == before
    assert not Path(new).exists()


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    for place in ("file/games.txt", "file/deep/games.npy"):
        with pytest.raises(SystemExit) as stop:
            main(["games", "--count", "5", "--out", str(tmp_path / place)])
        assert stop.value.code == 2
        last = capsys.readouterr().err.strip().split("\n")[-1]
        assert last.endswith(f"would lie in {tmp_path}/file, which is a file: choose another name")
    with pytest.raises(SystemExit):
        main(["games", "--count", "5", "--out", "/proc/nowhere/games.txt"])
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert re.fullmatch("othellolens: /proc/nowhere.*: .*: choose another place", last)
    assert (tmp_path / "file").read_text() == "kept"


def test_nothing_is_overwritten_and_nothing_begun_in_vain(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sae, gpt, new = str(home / "sae"), str(home / "gpt"), str(tmp_path / "new")
    probe, mine = str(home / "probe"), tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("a report")
    (mine / "games.npy").write_bytes(b"games")
    file = str(mine / "games.npy")
    cases: list[tuple[list[str], str]] = [
        (["intervene", gpt, "--write", file], "games.npy exists: choose another name"),
        (["intervene", gpt, "--keep", str(mine)], "mine exists: choose another name"),
        (["intervene", gpt, "--cases", file, "--write", new], "leave it or --cases out"),
        (["leaderboard", sae, "--out", str(mine)], "mine exists: choose another name"),
        (["leaderboard", sae, new, "--out", new], f"there is no folder {new}"),
        (["concepts", "--games", "2", "--json", file], "games.npy exists: choose another name"),
        (["concepts", "--games", "2", f"--json={mine}"], "mine is a folder: name a file in it"),
        (["concepts", "--games", "2", "--json", f"{file}/x"], "which is a file"),
        (["concepts", "--games", "0"], "0: there are no games"),
        (["concepts", "--games", "-5"], "must not be negative"),
        (["games", "--count", "0", "--out", new], "count must be|count is 0: make at least one"),
        (["games", "--count", "-3", "--out", f"{new}.npy"], "count is -3: make at least one"),
        (["games", "--count", "3", "--import", file], "--import and --count are different things"),
        (["games", "--count", "3", "--out", f"{new}.npy", "--json", "-"], "--json is for what an"),
        (["fit-probe", "--out", new, "--model", gpt, "--lr", "-1"], "lr and weight_decay"),
        (
            ["fit-probe", "--out", new, "--model", gpt, "--site", "z.1", "--back", "59"],
            "59 plies back",
        ),
        (["fit-probe", "--out", new, "--model", gpt, "--held", "0"], "0: there are no games"),
        (["fit-probe", "--out", new, "--model", sae], "holds an SAE, no GPT"),
        (["evaluate", gpt, "--alone"], "--alone, --model and --site are for SAEs and probes"),
        (["patch", gpt, "--clean", "f5d6c3", "--corrupted", "f5d6"], "must be of the same length"),
        (["pass-test", gpt, "--games", "0"], "0: there are no games"),
        (["patch", gpt, "--count", "0"], "0 pairs of 5 to 30 plies: ask for at least one"),
        (["patch", gpt, "--plies", "30", "5"], "pairs of 30 to 5 plies"),
        (["patch", gpt, "--features", new], f"there is no folder {new}"),
        (["sparse-probe"], "there is nothing to probe"),
        (["sparse-probe", sae, "--rows", "-1"], "rows must be at least 1, not -1"),
        (["report", gpt, "--out", new], "gpt is a model: name the folder of an SAE"),
        (["trace", new], f"there is no folder {new}"),
        (["intervene", gpt, "--probes", probe], "name the folder in which those lie"),
        (["show", f"{new}.npy"], "there is no file .*, and it is no moves such as f5d6c3"),
        (["train-gpt", "--out", new, "--log-every", "0"], "log_every is 0: it is a number of st"),
        (["train-gpt", "--out", new, "--judge-every", "-1"], "judge_every is -1"),
    ]
    for args, text in cases:
        line = refused(args, capsys)
        assert re.search(text, line), (args, line)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["games.npy", "index.html", "mine"]
    assert (mine / "games.npy").read_bytes() == b"games"
    with pytest.warns(UserWarning, match=r"fitted at resid_post\.1 is used at resid_post\.0"):
        load_lens(home / "sae", site="resid_post.0")


def test_stopped_by_hand_and_a_reader_that_leaves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("othellolens.conceptslist.base_rates", stop)
        with pytest.raises(SystemExit) as caught:
            main(["concepts", "--games", "2"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == (
        "\nothellolens: stopped; a run folder is kept, and --resume goes on there\n"
    )
    command = "from othellolens.cli import main; main(['concepts', '--games', '2'])"
    done = subprocess.run(
        f'{sys.executable} -c "{command}" | head -c 5',
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert len(done.stdout) == 5
    assert "Traceback" not in done.stderr


def test_judging_on_games_that_were_trained_on_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in ([], ["--seed", "1"]):  # the seed of the games that the probes are fitted on
        with monkeypatch.context() as patch:
            if not seed:
                patch.setattr("othellolens.cli.HELD_SEED", 0)
            for run in ("sae", "gpt"):
                line = refused(["evaluate", str(home / run), "--games", "5", *seed], capsys)
                assert "also trained on" in line


def test_training_checkpoints_and_resumes_to_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off by hand after its first checkpoint, a training ends as if it had not been."""
    from othellolens.gpt.runs import load_gpt, train_gpt
    from othellolens.gpt.train import GPTPlan, GPTStep

    shape, plan = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), GPTPlan(games=40, batch=4)

    class Cut(Exception):
        pass

    def cut(step: GPTStep) -> None:
        if step.step == 6:
            raise Cut

    train_gpt(shape, plan, tmp_path / "whole", checkpoint_every=4)
    with pytest.raises(Cut):
        train_gpt(shape, plan, tmp_path / "cut", checkpoint_every=4, watch=cut)
    assert "under way" in refused(["evaluate", str(tmp_path / "cut"), "--games", "2"], capsys)
    train_gpt(shape, plan, tmp_path / "cut", checkpoint_every=4, resume=True)
    one, other = load_gpt(tmp_path / "whole"), load_gpt(tmp_path / "cut")
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert a.equal(b), name
    logs = [
        [json.loads(x)["step"] for x in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    assert logs[0] == logs[1]


def test_a_sweep_is_judged_and_drawn(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two architectures, two numbers, two seeds: a folder each, a table, two plots; and again."""
    out = tmp_path / "sweep"
    command = ["sweep", "--out", str(out), "--model", str(home / "gpt"), "--site", "resid_post.1"]
    command += ["--architectures", "topk", "gated", "--width", "24", "--l0", "3", "5"]
    command += ["--seeds", "0", "1", "--games", "40", "--held", "6", *TINY]
    main(command)
    shown = capsys.readouterr().out
    assert "8 SAEs in 2 stacks, 8 steps of 500 rows" in shown
    found = json.loads((out / "results.json").read_text())
    assert {row["architecture"] for row in found["saes"]} == {"topk", "gated"}
    assert len(found["saes"]) == 8
    for row in found["saes"]:
        assert (out / row["name"] / "cfg.json").is_file()
        assert row["l0"] == pytest.approx(row["target"], rel=0.25)
        assert 0 < row["fvu"] < 2 and row["kl"] >= 0
    rows = [line for line in shown.splitlines() if line.startswith(("topk", "gated"))]
    assert len(rows) == 4
    topk_3 = [row for row in found["saes"] if row["name"].startswith("topk-w24-l3-")]
    assert f"{sum(row['fvu'] for row in topk_3) / 2:.4f}" in rows[0]
    alone = f"CE {topk_3[0]['cross_entropy_clean']:.4f}, illegal {topk_3[0]['illegal_clean']:.4f}"
    assert f"nothing spliced in: {alone}" in shown
    for plot in ("fvu.svg", "kl.svg"):
        tree = ElementTree.fromstring((out / plot).read_text())
        assert len(tree.findall(".//{*}polyline")) == 2
    assert "exists and holds a training" in refused(command, capsys)
    before = (out / "topk-w24-l3-s0" / "cfg.json").stat().st_mtime_ns
    main([*command, "--resume"])
    assert (out / "topk-w24-l3-s0" / "cfg.json").stat().st_mtime_ns == before


def test_a_sweep_of_transcoders_is_judged_by_what_they_write(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "over"
    command = ["sweep", "--out", str(out), "--model", str(home / "gpt"), "--games", "40"]
    command += ["--site", "ln2.0", "ln2.1", "--target", "mlp_out", "--architectures", "topk"]
    main([*command, "--width", "24", "--l0", "3", "--seeds", "0", "--held", "6", *TINY])
    assert "2 SAEs in 2 stacks" in capsys.readouterr().out
    for layer in range(2):
        config = json.loads((out / f"ln2.{layer}-topk-w24-l3-s0" / "cfg.json").read_text())
        assert config["metadata"]["hook_name_out"] == f"blocks.{layer}.hook_mlp_out"


def test_a_sweep_that_does_not_fit_is_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--out", str(tmp_path / "x"), "--model", str(home / "gpt")]
    command += ["--site", "resid_post.1", "--games", "40"]
    assert "GiB are free" in refused([*command, "--width", "64", "--memory", "0.0001"], capsys)
    # What no machine has is refused before any of it is asked for.
    assert "GiB are free" in refused([*command, "--width", str(10**10)], capsys)
    assert "it must be above 0" in refused([*command, "--width", "64", "--memory", "-1"], capsys)
    alone = ["train-sae", *command[1:], "topk", "--width", str(10**10)]
    assert "a smaller --width, --batch or --window" in refused(alone, capsys)
    assert "no architecture 'lstm'" in refused([*command, "--architectures", "lstm"], capsys)
    assert "at most the width, 8" in refused([*command, "--width", "8"], capsys)
    assert not (tmp_path / "x").exists()


def test_a_transcoder_is_trained_and_judged(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "over"
    command = ["train-sae", "--out", str(out), "--model", str(home / "gpt"), "--games", "40"]
    command += ["--site", "ln2.1", "--target", "mlp_out.1", "--skip", *TINY]
    main([*command, "topk", "--width", "24", "--k", "3"])
    main(["evaluate", str(out), "--games", "6", "--alone"])
    assert "over" in capsys.readouterr().out
    assert "exists and holds a training" in refused(
        [*command, "topk", "--width", "24", "--k", "3"], capsys
    )


def test_the_published_cap_stands_beside_the_corrected_score(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    told = home / "cap.json"
    main(
        ["evaluate", "oracle", "--protocol", "boardgameeval", "--games", "600"]
        + ["--json", str(told)]
    )
    board, blanks, legal = json.loads(told.read_text())
    published = [row["coverage as published"] for row in (board, blanks, legal)]
    assert published == pytest.approx([128 / 192, 188 / 192, 60 / 64], abs=1e-6)
    assert [row["coverage corrected"] for row in (board, blanks, legal)] == [1.0, 1.0, 1.0]
    assert "0.6667" in capsys.readouterr().out
    main(["evaluate", str(home / "sae"), "--protocol", "boardgameeval", "--games", "20"])
    assert "board with blanks" in capsys.readouterr().out
    line = refused(["evaluate", "oracle", "--protocol", "boardgameeval", "--games", "3"], capsys)
    assert "too few for two halves" in line


def test_concepts_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    main(["concepts", "--games", "50", "--json", str(tmp_path / "c.json")])
    rows = json.loads((tmp_path / "c.json").read_text())
    assert sum(row["concepts"] for row in rows) == 3507
    by_name = {row["family"]: row for row in rows}
    assert by_name["played"]["mean"] == pytest.approx(1 / 60, rel=1e-6)
    assert by_name["mine"]["mean"] + by_name["theirs"]["mean"] == pytest.approx(
        by_name["black"]["mean"] + by_name["white"]["mean"]
    )
    assert "3507 concepts" in capsys.readouterr().out
    main(["concepts", "--games", "50", "--families-of", "over", "phase"])
    assert "phase plies 0-9" in capsys.readouterr().out
    assert "no concept family 'edges'" in refused(["concepts", "--families-of", "edges"], capsys)
