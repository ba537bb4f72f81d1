"""Fetching: once, whole, checked; what breaks off goes on."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from reference.hub import Hub

from othellolens.download import NotThereError, cache_folder, fetch, hub_file
from othellolens.errors import InputError

REPO, NAME = "some/models", "weights.pth"
DATA = bytes(range(256)) * 9_000
SHA = hashlib.sha256(DATA).hexdigest()


def left(tmp_path: Path) -> list[str]:
    files = (p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())
    return sorted(name for name in files if not name.endswith(".lock"))


@pytest.mark.parametrize("redirect", [True, False])
def test_a_file_is_fetched_once(redirect: bool, hub: Hub, tmp_path: Path) -> None:
    hub.redirect = redirect
    hub.add(REPO, NAME, DATA)
    path = hub_file(REPO, NAME, sha256=SHA)
    assert path.read_bytes() == DATA
    assert path.is_relative_to(cache_folder())
    requests = len(hub.asked)
    assert requests == 1 + redirect
    assert hub_file(REPO, NAME, sha256=SHA.upper()) == path
    assert len(hub.asked) == requests
    assert left(tmp_path) == [NAME]


@pytest.mark.parametrize("redirect", [True, False])
def test_what_breaks_off_goes_on(redirect: bool, hub: Hub, tmp_path: Path) -> None:
    hub.redirect, hub.cut = redirect, 1_000_000
    hub.add(REPO, NAME, DATA)
    with pytest.raises(InputError, match=r"broke off after 1000000 of 2304000 bytes: run again"):
        hub_file(REPO, NAME)
    assert NAME not in left(tmp_path)
    hub.cut = None
    assert hub_file(REPO, NAME, sha256=SHA).read_bytes() == DATA
    assert hub.asked[-1][1] == "bytes=1000000-"
    assert left(tmp_path) == [NAME]


def test_another_file_is_not_glued_to_the_beginning_of_the_first(hub: Hub) -> None:
    hub.cut = 1_000_000
    hub.add(REPO, NAME, DATA)
    with pytest.raises(InputError, match="broke off"):
        hub_file(REPO, NAME)
    hub.cut = None
    hub.add(REPO, NAME, DATA[::-1])
    assert hub_file(REPO, NAME).read_bytes() == DATA[::-1]


def test_more_than_there_is_begins_anew(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, NAME, DATA)
    path = hub_file(REPO, NAME)
    path.unlink()
    part = path.with_name(f".{NAME}.part")
    part.write_bytes(DATA + b"more")
    part.with_suffix(".tag").write_text(f'"{hashlib.md5(DATA).hexdigest()}"')
    assert hub_file(REPO, NAME).read_bytes() == DATA
    assert left(tmp_path) == [NAME]


def test_a_wrong_hash_is_refused_and_nothing_kept(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPO, NAME, DATA)
    with pytest.raises(InputError, match=f"has the sha256 {SHA}, not {'0' * 64}: run again"):
        hub_file(REPO, NAME, sha256="0" * 64)
    assert left(tmp_path) == []
    hub.lie = "1" * 64
    with pytest.raises(InputError, match=f"not {'1' * 64}"):
        hub_file(REPO, NAME)
    hub.lie = None
    path = hub_file(REPO, NAME, sha256=SHA)
    path.write_bytes(DATA[:-1])
    with pytest.raises(InputError, match=r"delete it, and it is fetched anew"):
        hub_file(REPO, NAME, sha256=SHA)


@pytest.mark.parametrize("redirect", [True, False])
def test_many_who_want_one_file_fetch_it_once(redirect: bool, hub: Hub, tmp_path: Path) -> None:
    hub.redirect = redirect
    hub.add(REPO, NAME, DATA)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: hub_file(REPO, NAME).read_bytes(), range(8)))
    assert all(data == DATA for data in found)
    assert len(hub.asked) == 1 + redirect
    assert left(tmp_path) == [NAME]


def test_what_is_private_is_fetched_with_a_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub alone sees it, not the storage that it refers to."""
    hub.add(REPO, NAME, DATA)
    hub.token = "hf_ours"
    monkeypatch.setenv("HF_TOKEN", "hf_theirs")
    with pytest.raises(InputError, match=r"not public or not there \(401\).*hf auth login"):
        hub_file(REPO, NAME)
    monkeypatch.setenv("HF_TOKEN", "hf_ours")
    assert hub_file(REPO, NAME).read_bytes() == DATA
    assert hub.shown[-2:] == ["Bearer hf_ours", None]


def test_a_cache_that_cannot_be_written(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, NAME, DATA)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OTHELLOLENS_CACHE", str(tmp_path / "file/x"))
    with pytest.raises(InputError, match=r"cannot write .*Not a directory.*set OTHELLOLENS_CACHE"):
        hub_file(REPO, NAME)
    monkeypatch.setenv("HF_ENDPOINT", "https://[bad")
    with pytest.raises(InputError, match=r"HF_ENDPOINT 'https://\[bad' is no address"):
        hub_file(REPO, NAME)


def test_what_cannot_be_fetched_says_why(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotThereError, match="there is no http://.*weights.pth: is the name right"):
        hub_file(REPO, NAME)
    hub.add(REPO, NAME, DATA)
    for status, text in ((403, r"not public or not there \(403\)"), (500, "answered 500")):
        hub.status = status
        with pytest.raises(InputError, match=text):
            hub_file(REPO, NAME)
    hub.status = 200
    with pytest.raises(InputError, match="is no address of the web"):
        fetch(f"file://{tmp_path}/x", tmp_path / "y")
    with pytest.raises(
        InputError, match=r"cannot fetch http://127\.0\.0\.1:9/x .*look at the conn"
    ):
        fetch("http://127.0.0.1:9/x", tmp_path / "y")
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"HF_HUB_OFFLINE is set .* unset it, or get http.* put it"
    ):
        hub_file(REPO, NAME)
    assert len(hub.asked) == asked
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub_file(REPO, NAME)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_file(REPO, NAME).read_bytes() == DATA


def test_the_cache_folder_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHELLOLENS_CACHE", "here")
    assert cache_folder() == Path("here")
    monkeypatch.delenv("OTHELLOLENS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "there")
    assert cache_folder() == Path("there/othellolens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache/othellolens"
