"""Sets of random games on disk: a folder of shards, one byte a move, and a manifest.

Shard i is `games-00000i.npy`, int8 [game, 60], written in one step. `manifest.json` comes last and
holds the seed, the range of games, the version of the rules and the hash of every shard. A folder
without it is unfinished and can be finished: what is there is compared, and kept where it is right.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..artifact import read_json, refuse_existing, sha256, write_file, write_json
from ..errors import InputError
from .games import Games, random_games, random_origin
from .squares import MAX_PLIES

MANIFEST = "manifest.json"
BEGUN = "begun.json"
KIND = "othello-games"
RULES = 1
"""Version of the rules and of the stream of random moves: the same seed, the same games."""
SHARD = 1_000_000


@dataclass(frozen=True)
class Shards:
    """A finished set of games on disk; moves are mapped into memory and read when used."""

    folder: Path
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def origin(self) -> str:
        """Which games these are."""
        found = self.manifest
        return random_origin(found["seed"], found["first"], found["count"])

    def __getitem__(self, rows: slice) -> Games:
        """Games start..stop: a view of the file where they lie in one shard, else a copy."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InputError("games are cut in one piece: use shards[start:stop]")
        found = self.manifest
        parts = list(self._pieces(start, max(start, stop)))
        moves = parts[0] if len(parts) == 1 else np.concatenate([_none(), *parts])
        origin = random_origin(found["seed"], found["first"] + start, len(moves))
        return Games(torch.from_numpy(moves), origin)

    def batches(self, size: int) -> Iterator[Games]:
        """All games in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def check(self) -> None:
        """Compare every shard with its hash.

        Raises:
            InputError: naming the first that differs.
        """
        for shard in self.manifest["shards"]:
            if sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise InputError(
                    f"{self.folder / shard['file']} is not what the manifest says it is: remove it"
                    f" and {MANIFEST}, and make the set again with --resume"
                )

    @cached_property
    def _counts(self) -> list[int]:
        return [int(shard["games"]) for shard in self.manifest["shards"]]

    def _pieces(self, start: int, stop: int) -> Iterator[NDArray[np.int8]]:
        first = 0
        for shard, count in zip(self.manifest["shards"], self._counts, strict=True):
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high:
                yield _mapped(self.folder / shard["file"], count)[low:high]
            first += count


def write_shards(
    folder: Path,
    count: int,
    *,
    seed: int,
    first: int = 0,
    shard: int = SHARD,
    resume: bool = False,
    watch: Callable[[int, int], object] = lambda _, __: None,
) -> Shards:
    """Write random games `first`..`first + count` of a seed.

    Args:
        folder: to write; it must not exist, or hold an unfinished set and `resume` be asked for.
        count: how many games.
        seed: which endless list of games.
        first: number of the first game.
        shard: games a file.
        resume: finish the set that was begun in the folder.
        watch: called with the games written and the games in all.

    Raises:
        InputError: the folder exists, or was begun with something else.
    """
    if count < 1 or shard < 1:
        raise InputError(f"a set has at least one game and a shard too: got {count} and {shard}")
    asked = {"seed": seed, "first": first, "count": count, "shard": shard, "rules": RULES}
    _begin(folder, asked, resume)
    written: list[dict[str, object]] = []
    for start in range(0, count, shard):
        size = min(shard, count - start)
        path = folder / f"games-{start // shard:06}.npy"
        hashed = _write(path, size, seed=seed, first=first + start)
        written.append({"file": path.name, "games": size, "sha256": hashed})
        watch(start + size, count)
    whole = hashlib.sha256("".join(str(s["sha256"]) for s in written).encode()).hexdigest()
    manifest = {"kind": KIND, "schema": 1, **asked, "sha256": whole, "shards": written}
    write_json(folder / MANIFEST, manifest)
    (folder / BEGUN).unlink()
    return Shards(folder, manifest)


def open_shards(folder: str | Path) -> Shards:
    """A set that `write_shards` has finished.

    Raises:
        InputError: no such folder, no manifest, or a shard is missing or of another size.
    """
    folder = Path(folder)
    if (folder / BEGUN).exists():
        raise InputError(f"{folder} holds an unfinished set: finish it with games --resume")
    manifest = read_json(folder / MANIFEST)
    if manifest.get("kind") != KIND or not isinstance(manifest.get("shards"), list):
        raise InputError(
            f"{folder / MANIFEST} is of kind {manifest.get('kind')!r}, no set of games"
        )
    for shard in manifest["shards"]:
        _mapped(folder / shard["file"], int(shard["games"]))
    return Shards(folder, manifest)


def _begin(folder: Path, asked: dict[str, int], resume: bool) -> None:
    if not resume:
        refuse_existing(folder)
        folder.mkdir(parents=True)
        write_json(folder / BEGUN, asked)
    elif (folder / MANIFEST).exists():
        raise InputError(f"{folder} is finished: there is nothing to resume")
    found = read_json(folder / BEGUN)
    for key, value in asked.items():
        if found.get(key) != value:
            raise InputError(f"{folder} was begun with {key} {found.get(key)}, not {value}")


def _write(path: Path, count: int, *, seed: int, first: int) -> str:
    """Make a shard, unless the file that is there holds just these games; its hash either way."""
    moves = random_games(count, seed=seed, first=first).moves.numpy()
    if not _holds(path, moves):
        write_file(path, lambda work: _save(work, moves))
    return sha256(path)


def _holds(path: Path, moves: NDArray[np.int8]) -> bool:
    try:
        return path.exists() and np.array_equal(_mapped(path, len(moves)), moves)
    except InputError:
        return False


def _save(path: Path, moves: NDArray[np.int8]) -> None:
    with path.open("wb") as file:
        np.save(file, moves)


def _mapped(path: Path, count: int) -> NDArray[np.int8]:
    """The array in a file, copied into memory page by page only where somebody writes to it."""
    try:
        moves = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is missing, truncated or no array ({error})") from None
    if moves.dtype != np.int8 or moves.shape != (count, MAX_PLIES):
        raise InputError(
            f"{path} is {moves.dtype} {list(moves.shape)}, not int8 {[count, MAX_PLIES]}"
        )
    return moves


def _none() -> NDArray[np.int8]:
    return np.empty((0, MAX_PLIES), np.int8)
