"""Counts of several processes add up to those of one, on disk and beyond 32 bits."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from othellolens.artifact import write_tensors
from othellolens.concepts import family
from othellolens.errors import InputError
from othellolens.evaluation.controls import Oracle
from othellolens.evaluation.countfiles import load_counts, merged, save_counts
from othellolens.evaluation.counts import Counts, count
from othellolens.othello.games import random_games

ROUGH = family("mine") + family("played")
GAMES = random_games(31, seed=4)
PEAK = torch.linspace(0.5, 2, len(ROUGH))

SHARE = """
import sys, torch
from othellolens.concepts import family
from othellolens.evaluation.controls import Oracle
from othellolens.evaluation.countfiles import save_counts
from othellolens.evaluation.counts import count
from othellolens.othello.games import random_games

rough, first, stop = family("mine") + family("played"), *map(int, sys.argv[2:])
games, peak = random_games(31, seed=4)[first:stop], torch.linspace(0.5, 2, len(rough))
save_counts(count(Oracle(rough), games, rough, peak=peak, first=first), sys.argv[1])
"""


def tensors(counts: Counts) -> list[Tensor]:
    return [counts.peak, counts.positions, counts.fires, counts.holds, counts.both]


def test_counts_of_several_processes_are_those_of_one(tmp_path: Path) -> None:
    """The second share begins with an odd game, which must stay in the odd half."""
    whole = count(Oracle(ROUGH), GAMES, ROUGH, peak=PEAK)
    shares = {"one": (0, 13), "other": (13, 31)}
    for name, (first, stop) in shares.items():
        args = [sys.executable, "-c", SHARE, str(tmp_path / name), str(first), str(stop)]
        subprocess.run(args, check=True, timeout=300)
    total = merged([tmp_path / name for name in shares])
    assert (total.concepts, total.thresholds) == (whole.concepts, whole.thresholds)
    for mine, theirs in zip(tensors(total), tensors(whole), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    wrong = count(Oracle(ROUGH), GAMES[13:], ROUGH, peak=PEAK)
    assert not torch.equal(wrong.holds, load_counts(tmp_path / "other").holds)


def test_peaks_of_a_share_are_of_the_choosing_half() -> None:
    concepts = family("phase")
    whole = count(Oracle(concepts), GAMES[:2], concepts)
    share = count(Oracle(concepts), GAMES[1:2], concepts, peak=whole.peak, first=1)
    assert share.positions.tolist() == [0, int(whole.positions[1])]
    with pytest.raises(InputError, match="no games to judge on"):
        count(Oracle(concepts), GAMES[1:2], concepts, first=1)


def test_counts_beyond_32_bits_are_exact() -> None:
    few = count(Oracle(family("over")), GAMES[:2], family("over"), thresholds=(0.0,))
    many = torch.tensor([2**30, 2**31 - 1])
    holds = many[:, None]
    both = holds[:, None, None].int()
    large = replace(few, positions=many, fires=holds[:, None], holds=holds, both=both)
    total = large + large
    assert total.both.flatten().tolist() == total.positions.tolist() == [2**31, 2**32 - 2]
    assert (total + few).both.dtype == torch.int64
    assert (few + total).both.flatten().tolist() == (total + few).both.flatten().tolist()
    assert (few + few).both.dtype == torch.int32


def test_damaged_counts_are_refused(tmp_path: Path) -> None:
    few = count(Oracle(family("over")), GAMES[:4], family("over"))
    save_counts(few, tmp_path / "few")
    assert torch.equal(load_counts(tmp_path / "few").both, few.both)
    with pytest.raises(InputError, match="exists: choose another name"):
        save_counts(few, tmp_path / "few")
    with pytest.raises(InputError, match="no counts to add up"):
        merged([])
    with pytest.raises(InputError, match="is missing"):
        load_counts(tmp_path / "none")
    write_tensors(tmp_path / "few" / "counts.safetensors", {"peak": torch.ones(2)})
    with pytest.raises(InputError, match="both is missing"):
        load_counts(tmp_path / "few")
    (tmp_path / "few" / "config.json").write_text('{"kind": "probe"}')
    with pytest.raises(InputError, match="holds no counts: it is of kind 'probe'"):
        load_counts(tmp_path / "few")
