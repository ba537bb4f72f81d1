"""Reports against brute force over every position and against a replay by lists."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from reference import othello_by_lists as lists
from torch import Tensor

from othellolens.concepts import standard
from othellolens.encoder import Encoder, Neurons, RandomDirections
from othellolens.errors import InputError
from othellolens.evaluation.counts import count
from othellolens.evaluation.scores import Scores, score
from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig
from othellolens.gpt.sites import Site
from othellolens.lens import Lens
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import name
from othellolens.report.examples import BINS
from othellolens.report.tally import tally
from othellolens.report.write import KIND, MARKER, PAGE, write_report

WIDTH, DEAD, RARE = 70, 5, 66
"""Features (more than one shard), one that is never on, one that is seldom on."""
SITE = Site("resid_post", 1)
GROUPS = {"strongest": 12, "median": 6, "random": 6}


class Sparse(Encoder):
    """Random directions with a threshold, at a tenth of the positions or so."""

    def __init__(self) -> None:
        super().__init__()
        self.d_in = 32
        read = next(iter(Lens(tiny(), SITE, Neurons()).read(random_games(20, seed=9))))
        self.directions = RandomDirections(read.x, features=WIDTH, seed=1)
        self.level = self.directions.encode(read.x).quantile(0.9, dim=0)
        self.level[RARE] = self.directions.encode(read.x)[:, RARE].max() * 0.99

    def encode(self, x: Tensor) -> Tensor:
        features = (self.directions.encode(x) - self.level).relu()
        features[:, DEAD] = 0
        return features


class Named(Sparse):
    """The same with names that a careless page would take for markup."""

    def feature_names(self) -> tuple[str, ...]:
        return tuple(f"<i>{number}</i>" for number in range(WIDTH))


class Broken(Sparse):
    """Fails in the middle of a report."""

    def encode(self, x: Tensor) -> Tensor:
        raise RuntimeError("no more memory")


class Written(NamedTuple):
    """A report and all that is needed to check it."""

    path: Path
    lens: Lens
    scores: Scores
    held: Games
    at: Tensor
    features: Tensor
    squares: Tensor

    def feature(self, number: int) -> dict[str, Any]:
        return receive(self.path, f"features/{number // 64:04}")[number % 64]


def receive(path: Path, file: str) -> Any:
    """What a data file hands to the page: one call with plain JSON."""
    text = (path / "data" / f"{file}.js").read_text()
    found = re.fullmatch(r'othellolens\.receive\("([^"]*)", (.*)\);\n', text)
    assert found is not None
    assert found[1] == file
    return json.loads(found[2])


def tiny() -> GPT:
    return GPT(GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64), seed=3).eval()


def make_lens(encoder: Encoder) -> Lens:
    return Lens(tiny(), SITE, encoder)


def some_games() -> Games:
    """Enough for two batches; a wipe-out and an early pass among them."""
    moves = torch.full((2, 60), -1, dtype=torch.int8)
    for row, game in enumerate((lists.WIPE_OUT, lists.EARLY_PASS)):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    return Games.cat([Games(moves, "by hand"), random_games(70, seed=1)])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    path = tmp_path_factory.mktemp("reports") / "deep" / "report"
    lens, held = make_lens(Sparse()), some_games()
    scores = score(count(lens, held, standard()))
    seen: list[tuple[str, int, int]] = []
    write_report(path, lens, scores, None, held, watch=lambda *step: seen.append(step))
    assert seen[-1][1:] == (144, 144)
    reads = list(lens.read(held))
    return Written(
        path,
        lens,
        scores,
        held,
        torch.cat([read.boards.at for read in reads]),
        torch.cat([read.features for read in reads]),
        torch.cat([read.boards.squares() for read in reads]),
    )


def on_by_game(written: Written, number: int) -> dict[int, list[tuple[float, int]]]:
    """(activation, ply) of all positions at which a feature is on, by game."""
    found: dict[int, list[tuple[float, int]]] = {}
    column = written.features[:, number].tolist()
    for (game, ply), value in zip(written.at.tolist(), column, strict=True):
        if value > 0:
            found.setdefault(game, []).append((value, ply))
    return found


def test_the_folder_is_complete(written: Written) -> None:
    files = {str(p.relative_to(written.path)) for p in written.path.rglob("*") if p.is_file()}
    data = {f"data/{name}.js" for name in ("report", "table", "features/0000", "features/0001")}
    assert files == {*PAGE, MARKER, *data}
    assert [len(receive(written.path, f"features/000{i}")) for i in (0, 1)] == [64, 6]
    about, marker = receive(written.path, "report"), json.loads((written.path / MARKER).read_text())
    assert marker["kind"] == KIND
    assert about == {key: marker[key] for key in about}
    assert about["features"] == WIDTH
    assert about["positions"] == len(written.features)
    assert about["coverage"]["legal"] == pytest.approx(written.scores.coverage("legal"), rel=1e-5)
    assert about["dead"] == int((written.features == 0).all(0).sum())
    overall = written.squares.float().mean(0)
    torch.testing.assert_close(torch.tensor(about["overall"]) / 1000, overall, atol=6e-4, rtol=0)


def test_the_table_holds_the_scores(written: Written) -> None:
    table = receive(written.path, "table")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["feature"] for row in rows] == list(range(WIDTH))
    for row, match in zip(rows, written.scores.matches(), strict=True):
        values = written.features[:, match.feature]
        assert row["density"] == pytest.approx(float((values > 0).float().mean()), rel=1e-4)
        assert row["max"] == pytest.approx(float(values.max()), rel=1e-5)
        if match.feature == DEAD:
            assert row["concept"] is row["f1"] is row["threshold"] is None
        else:
            assert (row["concept"], row["square"]) == (str(match.concept), match.concept.square)
            found = [row[key] for key in ("f1", "precision", "recall", "threshold")]
            expected = [match.f1, match.precision, match.recall, match.threshold]
            assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("number", [0, 17, 63, 64, RARE])
def test_examples_equal_brute_force(written: Written, number: int) -> None:
    feature, on = written.feature(number), on_by_game(written, number)
    assert on
    values = torch.tensor([value for game in on.values() for value, _ in game])
    assert feature["median"] == pytest.approx(float(values.median()), rel=0.03)
    assert feature["mean"] == pytest.approx(float(values.mean()), rel=1e-4)
    for group, size in GROUPS.items():
        shown = feature["examples"][group]
        assert len(shown) == min(size, len(on))
        assert len({one["game"] for one in shown}) == len(shown)
        for one in shown:
            here = [value for value, ply in on[one["game"]] if ply == one["ply"]]
            assert here == [pytest.approx(one["activation"], rel=1e-5)]
    best = sorted((max(game)[0] for game in on.values()), reverse=True)[:12]
    strongest = [one["activation"] for one in feature["examples"]["strongest"]]
    assert strongest == pytest.approx(best, rel=1e-5)
    exact = float(tally(written.lens.read(written.held), WIDTH).median()[number])
    near = sorted(min(abs(value - exact) for value, _ in game) for game in on.values())[:6]
    apart = [abs(one["activation"] - exact) for one in feature["examples"]["median"]]
    assert apart == pytest.approx(near, abs=1e-5)


def test_histogram_and_mean_board_equal_brute_force(written: Written) -> None:
    for number in range(WIDTH):
        feature, values = written.feature(number), written.features[:, number]
        on = values > 0
        assert feature["fires"] == sum(feature["histogram"]) == int(on.sum())
        if not on.any():
            continue
        expected = torch.histc(values[on], BINS, min=0, max=float(values.max()))
        # A value on the edge between two bins may fall on either side.
        assert int((torch.tensor(feature["histogram"]) - expected).abs().sum()) <= 2
        mean = written.squares[on].float().mean(0)
        torch.testing.assert_close(torch.tensor(feature["board"]) / 1000, mean, atol=6e-4, rtol=0)


def all_diagrams(written: Written) -> list[dict[str, Any]]:
    shards = [receive(written.path, f"features/000{i}") for i in (0, 1)]
    groups = [group for shard in shards for one in shard for group in one["examples"].values()]
    return [diagram for group in groups for diagram in group]


def check_diagram(moves: list[int], diagram: dict[str, Any]) -> None:
    ply = diagram["ply"]
    replay = lists.replay(moves[: ply + 1])
    now = replay[ply]
    movers = [True, *(after.black for after in replay[:-1])]
    board = lists.start()
    for square, black in zip(moves[:ply], movers[:-1], strict=True):
        board = lists.play(board, square, "X" if black else "O")
    own, other = ("X", "O") if now.black else ("O", "X")
    signs = {**dict.fromkeys(now.mine, own), **dict.fromkeys(now.theirs, other)}
    assert diagram["board"] == "".join(signs.get(square, ".") for square in range(64))
    assert diagram["black"] == now.black
    assert diagram["last"] == moves[ply]
    assert set(diagram["flipped"]) == lists.flips(board, moves[ply], "X" if movers[-1] else "O")
    assert set(diagram["legal"]) == now.legal
    assert diagram["moves"] == "".join(name(square) for square in moves[: ply + 1])
    assert diagram["passes"] == [t for t, after in enumerate(replay) if after.passed]


def test_diagrams_equal_a_replay_by_lists(written: Written) -> None:
    diagrams = {(one["game"], one["ply"]): one for one in all_diagrams(written)}
    assert len(diagrams) > 300
    passed = [one for one in diagrams.values() if one["ply"] in one["passes"]]
    over = [one for one in diagrams.values() if not one["legal"]]
    assert passed
    some = [*passed, *over, *list(diagrams.values())[::6]]
    for one in some:
        check_diagram([m for m in written.held.moves[one["game"]].tolist() if m >= 0], one)


def test_colours_right_after_a_pass() -> None:
    from othellolens.report.diagrams import draw
    from othellolens.report.examples import Example

    held = some_games()
    before, after, end = draw(held, [Example(1, 6, 1.0), Example(1, 7, 2.0), Example(0, 8, 3.0)])
    # White played h6 and Black cannot move: White moves again, and White's discs are "mine".
    assert before.black is False
    assert after.black is False
    assert after.passes == [7]
    assert after.board[after.last] == "O"
    assert end.legal == []
    assert end.passes == []
    assert "O" not in end.board
    for diagram in (before, after, end):
        moves = [m for m in held.moves[diagram.game].tolist() if m >= 0]
        check_diagram(moves, diagram._asdict())
    assert draw(held, []) == []


def test_a_dead_feature_has_no_boards(written: Written) -> None:
    feature = written.feature(DEAD)
    assert feature["fires"] == feature["median"] == feature["mean"] == 0
    assert feature["examples"] == {"strongest": [], "median": [], "random": []}


def test_the_seed_decides_the_random_boards_alone(written: Written, tmp_path: Path) -> None:
    for seed in (0, 7):
        path = tmp_path / str(seed)
        write_report(path, written.lens, written.scores, None, written.held, seed=seed)
    shard = "data/features/0000.js"
    same, other = (tmp_path / seed / shard for seed in ("0", "7"))
    assert same.read_bytes() == (written.path / shard).read_bytes()
    assert other.read_bytes() != same.read_bytes()
    ours, theirs = (receive(tmp_path / seed, "features/0000")[0] for seed in ("0", "7"))
    assert ours["examples"].pop("random") != theirs["examples"].pop("random")
    assert ours == theirs


def test_nothing_that_a_caller_says_is_markup(written: Written, tmp_path: Path) -> None:
    title = "</script><script>alert('x')</script>\u2028"
    summary = [{"<b>": "<i>", "recovered": float("nan")}, {"<b>": "&", "recovered": 0.5}]
    lens = make_lens(Named())
    lens.model.name = "<img src=x>"
    write_report(
        tmp_path / "r", lens, written.scores, None, written.held[:10], title=title, summary=summary
    )
    for file in (tmp_path / "r" / "data").rglob("*.js"):
        assert "<" not in file.read_text()
        assert "NaN" not in file.read_text()
    about = receive(tmp_path / "r", "report")
    assert about["title"] == title
    assert about["summary"] == [{"<b>": "<i>", "recovered": None}, {"<b>": "&", "recovered": 0.5}]
    for file in PAGE:
        assert (tmp_path / "r" / file).read_bytes() == (written.path / file).read_bytes()


def test_the_page_needs_no_server_and_no_network(written: Written) -> None:
    page = {name: (written.path / name).read_text() for name in PAGE}
    addresses = re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", "\n".join(page.values()))
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}
    for forbidden in ('type="module"', "import ", "fetch(", "innerHTML", "document.write"):
        assert forbidden not in page["index.html"] + page["app.js"] + page["board.js"]
    assert len((page["app.js"] + page["board.js"]).splitlines()) < 900


def test_an_existing_folder_is_refused(written: Written, tmp_path: Path) -> None:
    rest = (written.lens, written.scores, None, written.held)
    with pytest.raises(InputError, match="exists"):
        write_report(written.path, *rest)
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    with pytest.raises(InputError, match="not replaced"):
        write_report(foreign, *rest, replace=True)
    for marker in ('{"kind": "another"}', "[]", "no JSON"):
        (foreign / MARKER).write_text(marker)
        with pytest.raises(InputError):
            write_report(foreign, *rest, replace=True)
    assert (foreign / "chapter.tex").read_text() == "years of work"


def test_a_report_is_replaced_whole_or_not_at_all(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "report"
    rest = (written.scores, None, written.held[:10])
    write_report(path, written.lens, *rest, title="first", replace=True)
    (path / "note.txt").write_text("of the first")
    with pytest.raises(RuntimeError, match="no more memory"):
        write_report(path, make_lens(Broken()), *rest, title="second", replace=True)
    assert receive(path, "report")["title"] == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    write_report(path, written.lens, *rest, title="third", replace=True)
    assert receive(path, "report")["title"] == "third"
    assert not (path / "note.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_what_does_not_fit_is_refused(written: Written, tmp_path: Path) -> None:
    path, held = tmp_path / "r", written.held
    narrow = make_lens(RandomDirections(torch.randn(9, 32), features=3, seed=0))
    with pytest.raises(InputError, match="70 features, but the encoder has 3"):
        write_report(path, narrow, written.scores, None, held)
    with pytest.raises(InputError, match="no positions"):
        write_report(path, written.lens, written.scores, None, held[:0])
    with pytest.raises(InputError, match="same keys"):
        write_report(path, written.lens, written.scores, None, held, summary=[{"a": 1}, {"b": 1}])
    assert not list(tmp_path.iterdir())


def open_page(path: Path, route: str, profile: Path) -> str:
    """The page's DOM after its scripts have run, as headless Chromium writes it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for found in map(shutil.which, names) if found), None)
    if browser is None:
        pytest.skip("no Chromium on PATH")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    quiet = "--disable-background-networking --disable-component-update --disable-sync"
    command = [browser, *flags.split(), *quiet.split(), f"--user-data-dir={profile}"]
    address = (path / "index.html").as_uri() + route
    command += ["--virtual-time-budget=5000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def shown_board(svg: str) -> str:
    """The signs by square, from where the discs lie on the screen: letters across, digits down."""
    signs = ["."] * 64
    for tag in re.findall(r'<circle class="disc [^>]*>', svg):
        x, y = (float(re.findall(rf'{key}="([\d.]+)"', tag)[0]) for key in ("cx", "cy"))
        column, row = int((x - 7) // 10), int((y - 7) // 10)
        signs[8 * column + row] = "X" if "disc black" in tag else "O"
    return "".join(signs)


@pytest.mark.browser
def test_the_page_draws_the_boards(written: Written, tmp_path: Path) -> None:
    number = 64
    dom = open_page(written.path, f"#/feature/{number}", tmp_path)
    assert f"Feature {number}" in dom
    boards = re.findall(r'<svg class="board".*?</svg>', dom, flags=re.DOTALL)
    groups = written.feature(number)["examples"]
    expected = [one for group in GROUPS for one in groups[group]]
    assert [shown_board(board) for board in boards] == [one["board"] for one in expected]
    for board, one in zip(boards, expected, strict=True):
        marks = {
            kind: [
                int(square) for square in re.findall(rf'class="{kind}" data-square="(\d+)"', board)
            ]
            for kind in ("last", "flipped", "legal")
        }
        assert marks == {"last": [one["last"]], "flipped": one["flipped"], "legal": one["legal"]}
        letters = re.findall(r'<text class="coordinate" x="([\d.]+)" y="5">(\w)</text>', board)
        assert letters == [(str(12 + 10 * i), "abcdefgh"[i]) for i in range(8)]


@pytest.mark.browser
def test_the_page_shows_table_dead_feature_and_trouble(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "report"
    title = "<script>document.title='hit'</script>"
    write_report(path, written.lens, written.scores, None, written.held, title=title)
    table = open_page(path, "", tmp_path / "a")
    assert 'aria-sort="descending"' in table
    assert len(re.findall(r'href="#/feature/\d+"', table)) == WIDTH - 1
    assert "&lt;script&gt;document.title" in table
    assert "<title>hit" not in table
    assert "never on" in open_page(path, f"#/feature/{DEAD}", tmp_path / "b")
    assert "There is no feature 9999" in open_page(path, "#/feature/9999", tmp_path / "c")
    (path / "data/features/0001.js").unlink()
    assert "0001.js is missing" in open_page(path, "#/feature/65", tmp_path / "d")


def test_labels_stand_beside_their_features(written: Written, tmp_path: Path) -> None:
    labels = [None] * WIDTH
    labels[7] = "f5 is mine and <b>legal</b>"
    write_report(tmp_path / "r", written.lens, written.scores, labels, written.held[:10])
    table = receive(tmp_path / "r", "table")
    column = table["columns"].index("label")
    assert [row[column] for row in table["rows"]] == labels
    with pytest.raises(InputError, match=f"3 labels for {WIDTH} features"):
        write_report(tmp_path / "s", written.lens, written.scores, ["a"] * 3, written.held)
    assert not (tmp_path / "s").exists()
