"""Many files at once, and the same from the command line."""

import json
from pathlib import Path

import pytest
import torch

from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.othello.games import Games
from othellolens.othello.records import load_games, read_records, save_games
from othellolens.othello.records.importing import (
    import_files,
    passed_over,
    remarks,
    results,
    rows,
    together,
)


@pytest.fixture
def folder(games: Games, tmp_path: Path) -> Path:
    """Three game files of different forms, one illegal game, and what is none."""
    folder = tmp_path / "games"
    save_games(games[:10], folder / "a.npy")
    save_games(games[10:20], folder / "b.pgn")
    (folder / "c.txt").write_text("f5d6\nf5f4a1\nf5f6\n")
    (folder / "README.md").write_text("# Games\n")
    (folder / "names.JOU").write_bytes(bytes(16))
    (folder / ".hidden").write_text("f5d6\n")
    return folder


def test_a_folder_is_read_whole(folder: Path, games: Games) -> None:
    seen: list[tuple[str, int, int]] = []
    found = import_files([folder], illegal="skip", watch=lambda *x: seen.append(x))
    assert seen == [("import", 1, 3), ("import", 2, 3), ("import", 3, 3)]
    table = rows(found)
    assert [row["file"] for row in table] == ["a.npy", "b.pgn", "c.txt", "all 3 files"]
    assert [row["form"] for row in table] == ["npy", "pgn", "text", "mixed"]
    assert [row["games"] for row in table] == [10, 10, 2, 22]
    assert [row["skipped"] for row in table] == [0, 0, 1, 1]
    assert [row["unfinished"] for row in table] == [0, 0, 2, 2]
    assert [row["score agrees"] for row in table] == [None, 1.0, None, 1.0]
    whole = together(found)
    assert torch.equal(whole.games.moves[:20], games.moves[:20])
    assert whole.numbers.tolist() == [*range(21), 22]
    assert len(whole.meta) == len(whole.ends.passes) == 22
    assert whole.games.origin.count("file ") == 3
    assert passed_over([folder]) == [folder / ".hidden", folder / "README.md"]
    lines = remarks(found, passed_over([folder]))
    assert lines[1] == f"passed over {folder / 'README.md'}: of no known form"
    assert lines[2].startswith(f"skipped {folder / 'c.txt'}, game 1, ply 2: a1 is illegal here;")
    (refused,) = results(found)[2]["refused"]
    assert (refused["game"], refused["ply"]) == (1, 2)


def test_many_refusals_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "games.txt"
    path.write_text("f5d6\n" + "f5a1\n" * 9)
    lines = remarks(import_files([path], illegal="skip"))
    assert len(lines) == 4
    assert lines[3] == f"skipped 6 more of {path}"


def test_nothing_to_import(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("# none")
    with pytest.raises(InputError, match="holds no game files: name a folder of them"):
        import_files([tmp_path])
    with pytest.raises(InputError, match="is of no known form"):
        import_files([tmp_path / "README"])


def test_the_command_reads_reports_and_writes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "all.wtb", tmp_path / "report.json"
    wanted = ["games", "--import", str(folder), "--illegal", "skip"]
    main([*wanted, "--out", str(out), "--json", str(report)])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == [
        *("file", "form", "games", "skipped", "with", "a", "pass", "unfinished"),
        *("score", "agrees", "seconds"),
    ]
    assert shown[5].split()[:6] == ["all", "3", "files", "mixed", "22", "1"]
    assert any("game 1, ply 2: a1 is illegal here; legal were:" in line for line in shown)
    assert [row["games"] for row in json.loads(report.read_text())] == [10, 10, 2]
    assert len(load_games(out)) == 22
    assert read_records(out).agreeing() == 1.0


def test_the_command_fails_on_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.npy").write_text("mine")
    for args, message in (
        (["--import", str(folder)], "game 1, ply 2: a1 is illegal here"),
        (["--import", str(folder / "a.npy"), "--out", str(tmp_path / "there.npy")], "exists"),
        (["--import", str(folder / "a.npy"), "--out", str(tmp_path / "x.csv")], "name the file in"),
        (["--import", str(tmp_path / "nowhere")], "there is no file"),
        (["--count", "3"], "say how many games by --count and where to by --out, or --import"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["games", *args])
        assert stop.value.code == 2
        (line,) = [one for one in capsys.readouterr().err.split("\n") if "othellolens: " in one]
        assert message in line
    assert (tmp_path / "there.npy").read_text() == "mine"
