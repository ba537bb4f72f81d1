"""Saved things: written in one step or not at all, and damaged ones end in one clear line."""

import hashlib
import os
from pathlib import Path

import pytest
import torch

from othellolens.artifact import (
    check_tensors,
    new_folder,
    provenance,
    read_json,
    read_tensors,
    refuse_existing,
    sha256,
    write_file,
    write_json,
    write_tensors,
)
from othellolens.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Folders


def test_a_new_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with new_folder(path) as work:
        (work / "a").write_text("1")
        assert not path.exists()
        assert work.parent == path.parent
    assert (path / "a").read_text() == "1"
    assert names(path.parent) == ["run"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half way"), new_folder(tmp_path / "run") as work:
        (work / "a").write_text("1")
        raise RuntimeError("half way")
    assert names(tmp_path) == []


def old_run(folder: Path, marker: str = "cfg.json") -> Path:
    path = folder / "run"
    path.mkdir()
    (path / marker).write_text("old")
    return path


def test_what_exists_is_not_replaced(tmp_path: Path) -> None:
    path = old_run(tmp_path)
    with pytest.raises(InputError, match="run exists: choose another name"), new_folder(path):
        pytest.fail("the block was run")
    assert (path / "cfg.json").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_only_a_folder_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    path = old_run(tmp_path)
    with (
        pytest.raises(InputError, match=r"run exists and holds no other\.json"),
        new_folder(path, replace="other.json"),
    ):
        pytest.fail("the block was run")
    with new_folder(path, replace="cfg.json") as work:
        (work / "new").write_text("new")
        assert (path / "cfg.json").read_text() == "old"
    assert names(path) == ["new"]
    assert names(tmp_path) == ["run"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("mine")
    with pytest.raises(InputError, match="run exists"), new_folder(path, replace="cfg.json"):
        pytest.fail("the block was run")
    assert path.read_text() == "mine"


def test_a_failure_keeps_the_folder_that_was_there(tmp_path: Path) -> None:
    path = old_run(tmp_path)
    with (
        pytest.raises(RuntimeError, match="half way"),
        new_folder(path, replace="cfg.json") as work,
    ):
        (work / "new").write_text("new")
        raise RuntimeError("half way")
    assert (path / "cfg.json").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_a_failing_rename_keeps_the_folder_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_run(tmp_path)
    rename = Path.rename
    fails = [True]

    def full(self: Path, target: Path) -> Path:
        if target == path and fails.pop():
            fails.append(False)
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space left"), new_folder(path, replace="cfg.json"):
        pass
    assert (path / "cfg.json").read_text() == "old"
    assert names(tmp_path) == ["run"]


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(InputError, match="run exists"), new_folder(path):
        path.mkdir()
        (path / "a").write_text("of somebody else")
    assert (path / "a").read_text() == "of somebody else"
    assert names(tmp_path) == ["run"]


def test_refuse_existing(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    refuse_existing(path)
    path.write_text("mine")
    with pytest.raises(InputError, match="thing exists: choose another name or remove it"):
        refuse_existing(path)


# Files


def test_a_file_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    seen: list[bool] = []

    def write(work: Path) -> None:
        work.write_text("new")
        seen.append(path.exists())

    write_file(path, write)
    assert seen == [False]
    assert path.read_text() == "new"
    assert names(path.parent) == ["file"]


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fails(work: Path) -> None:
        work.write_text("half")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_file(path, fails)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]
    write_file(path, lambda work: work.write_text("new"))
    assert path.read_text() == "new"


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": "ü"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text().endswith("}\n")


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "x.json"
    with pytest.raises(InputError, match=r"x\.json is missing: is .*run the folder"):
        read_json(path)
    path.parent.mkdir()
    for content, message in (
        (b"", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[1, 2]", "holds no JSON object"),
        (b"3", "holds no JSON object"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"x\.json {message}.*: restore it or make it anew"):
            read_json(path)


# Tensors


def test_tensors_come_back(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "plain": whole,
        "turned": whole.permute(2, 0, 1),
        "half": whole.half(),
        "bits": torch.tensor([1, -1, -(1 << 63)]),
        "trained": torch.nn.Parameter(torch.ones(3)),
        "none": torch.empty(0, 4),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    read = read_tensors(tmp_path / "x.safetensors")
    assert set(read) == set(tensors)
    for key, value in read.items():
        assert value.dtype == tensors[key].dtype
        assert torch.equal(value, tensors[key]), key
    assert names(tmp_path) == ["x.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_others_may_read_what_they_may_read_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    write_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)})
    write_json(tmp_path / "x.json", {})
    modes = {(tmp_path / name).stat().st_mode for name in ("any", "x.safetensors", "x.json")}
    assert len(modes) == 1


def test_damaged_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run" / "x.safetensors"
    with pytest.raises(InputError, match=r"x\.safetensors is missing: is .*run the folder"):
        read_tensors(path)
    write_tensors(path, {"a": torch.ones(100)})
    good = path.read_bytes()
    for content in (b"", b"x", good[:6], good[:40], good[:-1], good + b"x", b"{}" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.safetensors is truncated or no safetensors"):
            read_tensors(path)


def test_every_misfit_is_listed() -> None:
    expected = {"a": torch.ones(2, 3), "b": torch.ones(4), "c": torch.ones(1)}
    check_tensors("model", {key: 0 * value for key, value in expected.items()}, expected)
    found = {"a": torch.ones(3, 2), "c": torch.ones(1), "d": torch.ones(1)}
    with pytest.raises(InputError) as caught:
        check_tensors("model", found, expected)
    message = "model does not fit: b is missing; d is unknown; a is [3, 2], not [2, 3]"
    assert str(caught.value) == message


def test_sha256_is_that_of_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"abc", bytes(range(256)) * 10_000):
        path.write_bytes(content)
        assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_provenance_says_what_made_it() -> None:
    found = provenance()
    assert found["torch"] == torch.__version__
    assert set(found) == {"python", "torch", "machine"}
    assert all(found.values())
