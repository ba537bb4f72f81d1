"""Stored rows: what was read, shard by shard, whatever ends the writing."""

import errno
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.tiny import tiny_model

from othellolens.activations import stored as module
from othellolens.activations.sources import Played, Source
from othellolens.activations.stored import Stored, store_rows, stored_bytes
from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games

SITES = (Site("resid_post", 0), Site("mlp_post", 1))
DTYPES = ("float32", "float16", "bfloat16")


def played(model: GPT | None = None, **options: Any) -> Played:
    return Played(
        model or tiny_model(), SITES, random_games(8, seed=1), **{"window": 2, "batch": 2} | options
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_read_back_is_what_was_stored(tmp_path: Path, dtype: Any) -> None:
    source, kind = played(), getattr(torch, dtype)
    stored = store_rows(source, tmp_path / "rows", dtype=dtype)
    assert isinstance(stored, Source)
    for number in range(source.windows):
        exact, read = source.window(number), stored.window(number)
        assert torch.equal(read.at, exact.at)
        for site in SITES:
            assert read.x[site].dtype == torch.float32
            assert torch.equal(read.x[site], exact.x[site].to(kind).float())


def test_a_folder_says_what_its_source_said(tmp_path: Path) -> None:
    source = played()
    store_rows(source, tmp_path / "rows")
    stored = Stored(tmp_path / "rows", source.model)
    for name in ("sites", "widths", "model_name", "origin", "windows"):
        assert getattr(stored, name) == getattr(source, name), name
    for number in range(source.windows):
        assert stored.rows_in(number) == source.rows_in(number)
        assert stored.games_in(number) == source.games_in(number)
    assert stored.complete
    manifest = json.loads((tmp_path / "rows" / "config.json").read_text())
    assert manifest["kind"] == "activations"
    assert manifest["provenance"]["torch"] == torch.__version__


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_size_is_known_before(tmp_path: Path, dtype: Any) -> None:
    source = played()
    store_rows(source, tmp_path / "rows", dtype=dtype)
    size = sum(path.stat().st_size for path in (tmp_path / "rows").glob("*.npy"))
    assert size == stored_bytes(source, dtype)


def test_some_of_the_sites_are_read(tmp_path: Path) -> None:
    store_rows(played(), tmp_path / "rows")
    whole, one = Stored(tmp_path / "rows"), Stored(tmp_path / "rows", sites=SITES[1])
    (tmp_path / "rows" / "resid_post.0-000000.npy").unlink()
    assert one.widths == {SITES[1]: 64}
    assert one.window(0).x.keys() == {SITES[1]}
    with pytest.raises(InputError, match=r"resid_post\.0-000000\.npy is missing"):
        whole.window(0)
    with pytest.raises(InputError, match=r"holds resid_post\.0, mlp_post\.1, not ln1\.0"):
        Stored(tmp_path / "rows", sites=[Site("ln1", 0)])


def test_nothing_that_is_read_can_change_the_folder(tmp_path: Path) -> None:
    stored = store_rows(played(), tmp_path / "rows", dtype="float32")
    window = stored.window(0)
    window.at.zero_()
    window.x[SITES[0]].zero_()
    assert not torch.equal(stored.window(0).at, window.at)
    assert not torch.equal(stored.window(0).x[SITES[0]], window.x[SITES[0]])


def test_another_model_is_refused(tmp_path: Path) -> None:
    store_rows(played(), tmp_path / "rows")
    Stored(tmp_path / "rows", tiny_model())
    other = tiny_model(seed=1)
    other.name = "other"
    with pytest.raises(InputError, match="of 'unnamed', and 'other' has other weights"):
        Stored(tmp_path / "rows", other)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json is missing"):
        Stored(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "gpt"}')
    with pytest.raises(InputError, match="of kind 'gpt', no stored activations"):
        Stored(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"finished": 9},
        {"finished": "4"},
        {"rows": [118]},
        {"rows": None},
        {"dtype": "int8"},
        {"sites": {"resid_post.0": "x"}},
        {"model_sha256": ...},
    ],
    ids=str,
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    store_rows(played(), tmp_path / "rows")
    path = tmp_path / "rows" / "config.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not ...}))
    with pytest.raises(InputError, match=r"config\.json does not describe its rows"):
        Stored(tmp_path / "rows")


@pytest.mark.parametrize("file", ["mlp_post.1-000002.npy", "at-000002.npy"])
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "of another shape"])
def test_a_damaged_shard_is_named_and_made_anew(tmp_path: Path, file: str, how: str) -> None:
    source = played()
    whole = store_rows(source, tmp_path / "rows").window(2)
    path = tmp_path / "rows" / file
    good = path.read_bytes()
    path.unlink()
    if how == "of another shape":
        np.save(path, np.zeros((3, 2), np.int32))
    elif how != "missing":
        path.write_bytes(good[: len(good) - 1 if how == "truncated" else 0])
    with pytest.raises(InputError, match=rf"{file} is .*resume=True"):
        Stored(tmp_path / "rows")
    again = store_rows(source, tmp_path / "rows", resume=True)
    assert path.read_bytes() == good
    assert torch.equal(again.window(2).x[SITES[1]], whole.x[SITES[1]])


def full_disk_after(writes: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real, left = module._save, iter(range(writes))  # pyright: ignore

    def save(path: Path, array: Any) -> None:
        if next(left, None) is None:
            path.write_bytes(b"half a shard")
            raise OSError(number, "no")
        real(path, array)

    monkeypatch.setattr(module, "_save", save)


@pytest.mark.parametrize("writes", [0, 1, 3, 5, 11])
def test_a_full_disk_leaves_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    source, out, finished = played(), tmp_path / "rows", writes // 3
    rows = sum(source.rows_in(number) for number in range(finished))
    with monkeypatch.context() as patch:
        full_disk_after(writes, patch, errno.ENOSPC)
        with pytest.raises(InputError, match=rf"full: {rows} of \d+ rows in .*resume=True") as told:
            store_rows(source, out, dtype="float32")
    assert "\n" not in str(told.value)
    stored = Stored(out, source.model)
    assert (stored.windows, stored.complete) == (finished, False)
    for number in range(finished):
        assert torch.equal(stored.window(number).x[SITES[1]], source.window(number).x[SITES[1]])
    with pytest.raises(InputError, match=f"there are {finished}, counted from 0"):
        stored.window(finished)
    assert not list(out.glob(".*"))
    assert store_rows(source, out, dtype="float32", resume=True).complete


def test_a_disk_without_room_for_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr("othellolens.activations.manifest.write_json", fail)
    with pytest.raises(InputError, match="full: nothing in"):
        store_rows(played(), tmp_path / "rows")


def test_another_failure_of_the_disk_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk_after(1, monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="no") as told:
        store_rows(played(), tmp_path / "rows")
    assert told.value.errno == errno.EIO


def test_a_real_full_disk_says_so() -> None:
    """numpy.save alone would raise an OSError that does not say why."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with pytest.raises(OSError) as told:  # noqa: PT011
        module._save(Path("/dev/full"), np.zeros((100_000, 2), np.float32))  # pyright: ignore
    assert told.value.errno == errno.ENOSPC


def test_a_killed_run_goes_on_and_writes_only_what_lacks(tmp_path: Path) -> None:
    source, out, told = played(), tmp_path / "rows", list[tuple[int, int]]()

    class Killed(BaseException):
        pass

    def watch(rows: int, of: int) -> None:
        told.append((rows, of))
        if len(told) == 2:
            raise Killed

    with pytest.raises(Killed):
        store_rows(source, out, watch=watch)
    (out / ".mlp_post.1-000002.npy.1.tmp").write_bytes(b"half a shard")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*-00000[01].npy")}
    assert len(before) == 6
    resumed = store_rows(source, out, resume=True, watch=watch)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert resumed.complete
    assert not list(out.glob(".*"))
    assert [rows for rows, _ in told] == [118, 236, 354, 472]
    assert {of for _, of in told} == {472}
    whole = store_rows(source, tmp_path / "unbroken")
    for path in sorted(whole.path.iterdir()):
        assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_another_source_cannot_go_on(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    store_rows(played(), out)
    with pytest.raises(InputError, match="exists"):
        store_rows(played(), out)
    others = {
        r"dtype float16, not float32": (played(), "float32"),
        r"model_sha256": (played(tiny_model(seed=1)), "float16"),
        r"games \[2, 2, 2, 2\], not \[4, 4\]": (played(window=4), "float16"),
        r"'batch': 2}, not .*'batch': 3}": (played(batch=3), "float16"),
        r"'bf16'": (played(precision="bf16"), "float16"),
        r"origin .*seed=1 .*, not .*seed=2": (
            Played(tiny_model(), SITES, random_games(8, seed=2), window=2, batch=2),
            "float16",
        ),
        r"sites .*, not {'resid_post\.0': 32}": (
            Played(tiny_model(), SITES[0], random_games(8, seed=1), window=2, batch=2),
            "float16",
        ),
    }
    for match, (source, dtype) in others.items():
        with pytest.raises(InputError, match=match):
            store_rows(source, out, dtype=dtype, resume=True)  # pyright: ignore
    with pytest.raises(InputError, match=r"config\.json is missing"):
        store_rows(played(), tmp_path / "nothing", resume=True)


def test_a_message_does_not_list_hundreds_of_windows(tmp_path: Path) -> None:
    source = Played(tiny_model(), SITES[0], random_games(60, seed=1), window=1)
    store_rows(source, tmp_path / "rows")
    fewer = Played(tiny_model(), SITES[0], random_games(60, seed=1), window=2)
    with pytest.raises(InputError, match="rows was begun with other games: store this elsewhere"):
        store_rows(fewer, tmp_path / "rows", resume=True)


def test_a_disk_that_is_too_small_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, usage = played(), namedtuple("usage", "free")
    needed = stored_bytes(source)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed - 1))
    with pytest.raises(InputError, match="needs .* GB and .* has .* GB free"):
        store_rows(source, tmp_path / "deep" / "rows")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed))
    assert store_rows(source, tmp_path / "deep" / "rows").complete
    # What is there needs no room.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0))
    assert store_rows(source, tmp_path / "deep" / "rows", resume=True).complete


def large(value: float) -> Played:
    """One activation, after move 3 of game 5, has this size."""
    model = tiny_model()
    source = Played(model, Site("resid_pre", 0), random_games(6, seed=1), window=2)
    real = source.window

    def window(number: int) -> Any:
        rows = real(number)
        place = (rows.at == torch.tensor([5, 3])).all(1)
        rows.x[source.sites[0]][place, 7] = value
        return rows

    source.window = window
    return source


@pytest.mark.parametrize("value", [65505.0, -7e4])
def test_numbers_too_large_for_float16_are_refused(tmp_path: Path, value: float) -> None:
    match = r"^resid_pre\.0, game 5, ply 3: .* too large for float16, .* 65504: store bfloat16"
    with pytest.raises(InputError, match=match):
        store_rows(large(value), tmp_path / "rows")
    assert Stored(tmp_path / "rows").windows == 2
    store_rows(large(value), tmp_path / "bf16", dtype="bfloat16")
    store_rows(large(65504.0), tmp_path / "fits")
