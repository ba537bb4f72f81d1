"""Rows on disk: a folder with one shard a window and site, mapped into memory when it is read.

`config.json` says whose activations they are and how many windows are finished; it is written anew
after each. Window i lies in `at-00000i.npy`, int32 (game, ply), and `resid_post.3-00000i.npy` for
each site, bfloat16 as the int16 of its bits. Shards are written in one step.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..artifact import CONFIG, disk_that_may_fill_up, provenance, refuse_existing, write_file
from ..errors import InputError
from ..gpt.fingerprint import fingerprint
from ..gpt.model import GPT
from ..gpt.sites import Site
from .manifest import DType, Manifest
from .reader import each_once
from .rows import SiteRows
from .sources import Played, Source, check_window

_WIDER = {"float16": "bfloat16", "bfloat16": "float32"}
_ANEW = "store the rows again with resume=True, which keeps what is whole"
_HEADER = 128
# Bytes before the numbers of a .npy file.
_BRIEF = 160
# Characters that what differs may have in a message.


def stored_bytes(source: Source, dtype: DType = "float16") -> int:
    """The size of all shards of a source, in bytes; a few thousand more are the manifest's."""
    return sum(_window_bytes(source, number, dtype) for number in range(source.windows))


def _window_bytes(source: Source, number: int, dtype: DType) -> int:
    each = getattr(torch, dtype).itemsize * sum(source.widths.values()) + 8
    return source.rows_in(number) * each + (1 + len(source.sites)) * _HEADER


def store_rows(
    source: Played,
    out: Path,
    *,
    dtype: DType = "float16",
    resume: bool = False,
    watch: Callable[[int, int], object] = lambda _, __: None,
) -> "Stored":
    """Write the rows of a source into a folder, window by window.

    However it ends, the windows that are finished can be read, and the rest be added later;
    `resume` also makes windows anew that have lost a shard or hold a damaged one.
    Memory: one window, and one site of it about once more.

    Args:
        source: what to store.
        out: a new folder, or one that was begun and shall be finished.
        dtype: of the numbers on disk; see `stored_bytes` for the size.
        resume: go on with a folder that was begun from the same source.
        watch: called with the rows stored and the rows in all, after each window.

    Raises:
        InputError: the folder exists, or was begun from something else; the disk has too little
            room, or fills up; a number is too large for `dtype`, NaN or infinite.
    """
    manifest = _described(source, dtype)
    if resume:
        manifest = _begun(out, manifest)
    else:
        refuse_existing(out)
    lacking = _lacking(out, manifest)
    _check_room(out, sum(_window_bytes(source, number, dtype) for number in lacking))
    with disk_that_may_fill_up(lambda: _kept(out)):
        _begin(out, manifest)
        for number in lacking:
            _write_window(out, number, source.window(number), dtype)
            manifest = replace(manifest, finished=max(manifest.finished, number + 1))
            manifest.write(out)
            watch(manifest.done, sum(manifest.rows))
    return Stored(out, source.model)


class Stored:
    """A source that lies in a folder, which `store_rows` wrote; unfinished, as far as it goes.

    Shards are mapped into memory, and windows are copied out of them one at a time: the memory is
    one window of float32, `rows_in` x (the sum of the widths) x 4 bytes.
    """

    def __init__(
        self, path: str | Path, model: GPT | None = None, sites: Site | Sequence[Site] | None = None
    ) -> None:
        """Open a folder.

        Args:
            path: the folder.
            model: refuse the folder if it is not of this model, told by its weights.
            sites: which of the stored sites to read; by default all.

        Raises:
            InputError: the folder is of another kind or another model, a site is not stored, or a
                shard is missing, truncated or of another shape.
        """
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        if model is not None and fingerprint(model) != self.manifest.model_sha256:
            raise InputError(
                f"{self.path} holds activations of {self.manifest.model!r}, and {model.name!r} has"
                " other weights: store its own"
            )
        widths = {Site.parse(name): width for name, width in self.manifest.sites.items()}
        self.sites = tuple(widths) if sites is None else each_once(sites)
        for site in self.sites:
            if site not in widths:
                held = ", ".join(self.manifest.sites)
                raise InputError(f"{self.path} holds {held}, not {site}: store it too")
        self.widths: Mapping[Site, int] = {site: widths[site] for site in self.sites}
        for number in range(self.windows):
            _mapped_window(self.path, self.manifest, number, self._names())

    @property
    def model_name(self) -> str:
        """Whose activations they are."""
        return self.manifest.model

    @property
    def origin(self) -> str:
        """Where the games are from: all that were to be stored, also if some are not yet."""
        return self.manifest.origin

    @property
    def windows(self) -> int:
        """Finished windows."""
        return self.manifest.finished

    @property
    def complete(self) -> bool:
        """Whether all windows are stored."""
        return self.windows == len(self.manifest.rows)

    def games_in(self, number: int) -> int:
        """Games of a window."""
        check_window(self, number)
        return self.manifest.games[number]

    def rows_in(self, number: int) -> int:
        """Rows of a window."""
        check_window(self, number)
        return self.manifest.rows[number]

    def window(self, number: int) -> SiteRows:
        """The rows of a window, on the CPU.

        Raises:
            InputError: no such window, or a shard is missing or damaged.
        """
        check_window(self, number)
        at, x = _mapped_window(self.path, self.manifest, number, self._names())
        values = {site: _decoded(x[str(site)], self.manifest.dtype) for site in self.sites}
        return SiteRows(torch.from_numpy(at).clone(), values)

    def _names(self) -> list[str]:
        return [str(site) for site in self.sites]


def _described(source: Played, dtype: DType) -> Manifest:
    windows, reader = range(source.windows), source.reader
    moves = source.games.moves.contiguous().numpy()
    return Manifest(
        model=source.model_name,
        model_sha256=fingerprint(source.model),
        sites={str(site): width for site, width in source.widths.items()},
        dtype=dtype,
        origin=source.origin,
        games_sha256=hashlib.sha256(moves.tobytes()).hexdigest(),
        reading={
            "precision": reader.precision,
            "compiled": reader.compiled,
            "batch": reader.batch,
        },
        games=[source.games_in(number) for number in windows],
        rows=[source.rows_in(number) for number in windows],
        finished=0,
        provenance=provenance(),
    )


def _begun(out: Path, asked: Manifest) -> Manifest:
    """The manifest of a folder that was begun from the same source."""
    found = Manifest.read(out)
    same = replace(asked, finished=found.finished, provenance=found.provenance, model=found.model)
    for key, value in asdict(same).items():
        was = asdict(found)[key]
        if was != value:
            brief = f"{key} {was}, not {value}"
            what = brief if len(brief) < _BRIEF else f"other {key}"
            raise InputError(f"{out} was begun with {what}: store this elsewhere")
    return found


def _lacking(out: Path, manifest: Manifest) -> list[int]:
    """Windows that are not finished, or have lost a shard, or hold a damaged one."""
    return [
        number
        for number in range(len(manifest.rows))
        if number >= manifest.finished or not _whole(out, manifest, number)
    ]


def _whole(out: Path, manifest: Manifest, number: int) -> bool:
    try:
        _mapped_window(out, manifest, number, manifest.sites)
    except InputError:
        return False
    return True


def _check_room(out: Path, needed: int) -> None:
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            f"{out} needs {needed / 1e9:.3g} GB and {there} has {free / 1e9:.3g} GB free: store"
            " fewer games or sites, or float16 numbers, or stream them without storing"
        )


def _kept(out: Path) -> str:
    held = Manifest.read(out) if (out / CONFIG).exists() else None
    what = f"{held.done} of {sum(held.rows)} rows" if held else "nothing"
    return f"{what} in {out} can be read; make room and go on with resume=True"


def _begin(out: Path, manifest: Manifest) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for left_by_a_killed_run in out.glob(".*.tmp"):
        left_by_a_killed_run.unlink()
    manifest.write(out)


def _write_window(out: Path, number: int, rows: SiteRows, dtype: DType) -> None:
    for site, x in rows.x.items():
        encoded = _encoded(x, dtype, rows.at, site)
        write_file(_shard(out, site, number), lambda work, array=encoded: _save(work, array))
    write_file(_shard(out, "at", number), lambda work: _save(work, rows.at.numpy()))


def _save(path: Path, array: NDArray[Any]) -> None:
    # numpy.save writes through a C stream and forgets why that failed; a file says "no space".
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(np.ascontiguousarray(array).data)


def _encoded(x: Tensor, dtype: DType, at: Tensor, site: Site) -> NDArray[Any]:
    kind, x = getattr(torch, dtype), x.cpu()
    most = torch.finfo(kind).max
    large = ((x > most) | (x < -most)).any(1)
    if bool(large.any()):
        game, ply = at[int(large.nonzero()[0])].tolist()
        raise InputError(
            f"{site}, game {game}, ply {ply}: an activation is too large for {dtype}, which ends at"
            f" {most:.6g}: store {_WIDER.get(dtype, 'a scaled model')}"
        )
    stored = x.to(kind)
    return (stored.view(torch.int16) if dtype == "bfloat16" else stored).numpy()


def _decoded(shard: NDArray[Any], dtype: str) -> Tensor:
    stored = torch.from_numpy(shard)
    whole = stored.view(torch.bfloat16) if dtype == "bfloat16" else stored
    return whole.to(torch.float32, copy=True)


def _shard(folder: Path, what: object, number: int) -> Path:
    return folder / f"{what}-{number:06}.npy"


def _mapped_window(
    folder: Path, manifest: Manifest, number: int, names: Iterable[str]
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """`at` and the shard of each site, mapped into memory."""
    rows, dtype = manifest.rows[number], manifest.dtype
    stored = np.dtype("int16" if dtype == "bfloat16" else dtype)
    at = _mapped(_shard(folder, "at", number), np.dtype("int32"), (rows, 2))
    return at, {
        name: _mapped(_shard(folder, name, number), stored, (rows, manifest.sites[name]))
        for name in names
    }


def _mapped(path: Path, dtype: "np.dtype[Any]", shape: tuple[int, int]) -> NDArray[Any]:
    """The array in a file, read page by page where it is used."""
    if not path.is_file():
        raise InputError(f"{path} is missing: {_ANEW}")
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is truncated or no array ({error}): {_ANEW}") from None
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{path} is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}: {_ANEW}"
        )
    return array
