"""Sets of games on disk: written, finished after a break, read in pieces, and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from othellolens.errors import InputError
from othellolens.othello import shards as module
from othellolens.othello.games import random_games, random_origin
from othellolens.othello.shards import open_shards, write_shards


class Cut(Exception):
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_set_is_the_games_of_its_seed(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_shards(tmp_path / "set", 25, seed=3, first=100, shard=10, watch=lambda *x: seen.append(x))
    shards, whole = open_shards(tmp_path / "set"), random_games(25, seed=3, first=100)
    assert len(shards) == 25
    assert shards.origin == whole.origin
    assert seen == [(10, 25), (20, 25), (25, 25)]
    shards.check()
    for cut in (slice(None), slice(3, 8), slice(8, 22), slice(10, 20), slice(24, 25), slice(7, 7)):
        assert torch.equal(shards[cut].moves, whole.moves[cut])
        start, stop, _ = cut.indices(25)
        assert shards[cut].origin == random_origin(3, 100 + start, stop - start)
    batches = list(shards.batches(7))
    assert [len(batch) for batch in batches] == [7, 7, 7, 4]
    assert torch.equal(torch.cat([batch.moves for batch in batches]), whole.moves)
    with pytest.raises(InputError, match="in one piece"):
        shards[::2]


def test_a_game_takes_a_byte_a_move(tmp_path: Path) -> None:
    write_shards(tmp_path / "set", 1000, seed=0)
    assert (tmp_path / "set/games-000000.npy").stat().st_size == 60_000 + 128


def test_writing_to_what_was_read_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "set", 5, seed=0)
    shards[0:5].moves.zero_()
    shards.check()
    assert torch.equal(open_shards(tmp_path / "set")[:].moves, random_games(5, seed=0).moves)


def test_a_break_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "whole", 30, seed=1, shard=10)

    def cut(done: int, _: int) -> None:
        if done == 20:
            raise Cut

    folder = tmp_path / "broken"
    with pytest.raises(Cut):
        write_shards(folder, 30, seed=1, shard=10, watch=cut)
    with pytest.raises(InputError, match="unfinished set: finish it with games --resume"):
        open_shards(folder)
    with pytest.raises(InputError, match="broken exists"):
        write_shards(folder, 30, seed=1, shard=10)
    with pytest.raises(InputError, match="was begun with seed 1, not 2"):
        write_shards(folder, 30, seed=2, shard=10, resume=True)
    # One that was kept, one that something has damaged, one that is missing.
    before = (folder / "games-000000.npy").stat()
    np.save(folder / "games-000001.npy", np.zeros((10, 60), np.int8))
    write_shards(folder, 30, seed=1, shard=10, resume=True)
    assert (folder / "games-000000.npy").stat().st_ino == before.st_ino
    assert contents(folder) == contents(tmp_path / "whole")
    with pytest.raises(InputError, match="is finished: there is nothing to resume"):
        write_shards(folder, 30, seed=1, shard=10, resume=True)


def test_a_shard_that_something_has_changed_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_shards(folder, 20, seed=1, shard=10)
    path = folder / "games-000001.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"games-000001\.npy is not what the manifest says"):
        open_shards(folder).check()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "games-000000.npy").unlink(), r"games-000000\.npy is missing, truncated"),
        (lambda f: (f / "games-000000.npy").write_bytes(b""), "missing, truncated or no array"),
        (lambda f: (f / "games-000000.npy").write_bytes(b"\x93NUMPY"), "truncated or no array"),
        (lambda f: np.save(f / "games-000000.npy", np.zeros((4, 60), np.int8)), r"not int8 \[5"),
        (lambda f: np.save(f / "games-000000.npy", np.zeros((5, 60))), "is float64"),
        (lambda f: (f / "manifest.json").unlink(), r"manifest\.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "manifest.json").write_text('{"kind": "gpt"}'), "is of kind 'gpt', no set"),
    ],
)
def test_a_damaged_set_is_refused(damage: object, message: str, tmp_path: Path) -> None:
    write_shards(tmp_path / "set", 5, seed=0)
    assert callable(damage)
    damage(tmp_path / "set")
    with pytest.raises(InputError, match=message):
        open_shards(tmp_path / "set")


def test_the_manifest_says_what_the_games_are(tmp_path: Path) -> None:
    write_shards(tmp_path / "set", 5, seed=7, first=2, shard=3)
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert {key: manifest[key] for key in ("seed", "first", "count", "shard", "rules")} == {
        "seed": 7,
        "first": 2,
        "count": 5,
        "shard": 3,
        "rules": module.RULES,
    }
    assert [shard["games"] for shard in manifest["shards"]] == [3, 2]
    assert len(manifest["sha256"]) == 64


@pytest.mark.parametrize(("count", "shard"), [(0, 10), (5, 0)])
def test_nothing_is_no_set(count: int, shard: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one game"):
        write_shards(tmp_path / "set", count, seed=0, shard=shard)
