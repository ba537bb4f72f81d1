"""A disk that fills up in a training: one line, what is whole can be read, and it goes on."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from reference.tiny import tiny_model
from safetensors import SafetensorError

from othellolens.artifact import read_tensors, write_file
from othellolens.cli import main
from othellolens.errors import InputError
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games
from othellolens.sae.batch_topk import BatchTopK
from othellolens.sae.files import load_sae
from othellolens.sae.gated import Gated
from othellolens.sae.plan import SAEPlan
from othellolens.sae.runs import played, train_saes
from othellolens.sae.training import Member

SITE = Site("resid_post", 0)
PLAN = SAEPlan(rows=64 * 8, batch=64, window=128, lr=3e-3)
MEMBERS = [Member("a", BatchTopK(16, k=3), SITE), Member("b", Gated(16, l0=4), SITE)]


def trained(out: Path, *, resume: bool = False) -> None:
    source = played(tiny_model(), MEMBERS, random_games(128, seed=3), PLAN)
    train_saes(MEMBERS, source, PLAN, out, resume=resume, checkpoint_every=4)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    trained(out)
    return out


def full_after(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = Path.replace, iter(range(files))

    def replace(work: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "no")
        return real(work, target)

    monkeypatch.setattr(Path, "replace", replace)


# Files in their order: what was asked, the log, two checkpoints, then two of each SAE.
@pytest.mark.parametrize(
    ("files", "whole", "start"),
    [
        (1, 0, "the first step"),
        (2, 0, "the first step"),
        (3, 0, "its last checkpoint"),
        (4, 0, "its last checkpoint"),
        (5, 0, "its last checkpoint"),
        (6, 1, "its last checkpoint"),
        (7, 1, "its last checkpoint"),
    ],
)
def test_what_is_whole_is_kept_and_it_goes_on(
    files: int, whole: int, start: str, unbroken: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_after(files, patch)
        with pytest.raises(InputError, match="the disk is full") as told:
            trained(out)
    assert f"{whole} of 2 SAEs in {out} are whole" in str(told.value)
    assert f"go on from {start} with --resume" in str(told.value)
    assert "\n" not in str(told.value)
    for member in MEMBERS[:whole]:
        assert load_sae(out / member.name).recipe == member.recipe
    assert not list(out.rglob(".*"))
    trained(out, resume=True)
    for member in MEMBERS:
        name = Path(member.name) / "sae_weights.safetensors"
        one, other = read_tensors(out / name), read_tensors(unbroken / name)
        assert all(torch.equal(weight, other[key]) for key, weight in one.items())


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(0, monkeypatch)
    with pytest.raises(InputError, match=r"full: nothing was begun; remove .*run, make room"):
        trained(tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "free", "full"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), 1 << 30, True),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), 0, True),
        (RuntimeError("shapes differ"), 1 << 30, False),
        (SafetensorError("I/O error: Input/output error (os error 5)"), 1 << 30, False),
    ],
    ids=str,
)
def test_what_safetensors_and_torch_hide_comes_out(
    error: Exception, free: int, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they said on a tmpfs that was full: the one a number in a text, the other nothing."""

    def fail(work: Path) -> None:
        work.write_bytes(b"half a file")
        raise error

    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free))
    with pytest.raises(OSError if full else type(error)) as told:  # noqa: PT011
        write_file(tmp_path / "x", fail)
    assert not full or told.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_every_verb_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full_after(0, monkeypatch)
    with pytest.raises(SystemExit) as stop:
        main(["games", "--count", "3", "--out", str(tmp_path / "games.npy")])
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "othellolens: the disk is full: make room, say it again"
