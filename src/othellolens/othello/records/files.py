"""Game files: read by content, checked by replay, written in one step."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch

from ...artifact import refuse_existing, sha256, write_file
from ...errors import InputError
from ..games import Games
from ..shards import open_shards
from .check import CHUNK, Checked, check, join
from .forms import FORMS
from .recognise import first_bytes, recognise
from .record import FormName, Illegal, Meta, Raw, Records, Refusal


def load_games(
    path: str | Path, *, form: FormName | None = None, illegal: Illegal = "fail"
) -> Games:
    """Games from a file, recognised by its content and replayed by the rules.

    Args:
        path: a file of any form in `forms.FORMS`, or a folder of shards (see `write_shards`), of
            which the hashes are compared and the games mapped into memory.
        form: what the file is, where its content could be read in two ways.
        illegal: whether a game that breaks the rules is an error or left out.

    Raises:
        InputError: no such file, empty, truncated, of no known form, or with an illegal move (which
            game, ply and square, and what was legal there).
    """
    if Path(path).is_dir():
        shards = open_shards(path)
        shards.check()
        return shards[:]
    return read_records(path, form=form, illegal=illegal).games


def read_records(
    path: str | Path, *, form: FormName | None = None, illegal: Illegal = "fail"
) -> Records:
    """Games from a file with what it records of each: players, tournament, year, scores.

    Args and errors are those of `load_games`.
    """
    path = Path(path)
    try:
        first_bytes(path)
        form = form or recognise(path)
        raw = FORMS[form].read(path)
        return _records(path, form, raw, list(_checked(path, raw, illegal)))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def save_games(games: Games, path: str | Path, *, form: FormName | None = None) -> None:
    """Write games in the form that the file's name asks for (see `forms.FORMS`), or in `form`.

    Raises:
        InputError: the file exists, or its name asks for no form.
    """
    _save(games, (), Path(path), form)


def save_records(records: Records, path: str | Path, *, form: FormName | None = None) -> None:
    """The same with players, tournament, year and scores, as far as the form has room for them."""
    _save(records.games, tuple(records.meta), Path(path), form)


def check_writable(path: Path, form: FormName | None = None) -> FormName:
    """Refuse a path that `save_games` would refuse, before the games are made.

    Raises:
        InputError: the file exists, or its name asks for no form.
    """
    refuse_existing(path)
    if form is not None:
        return form
    for known, how in FORMS.items():
        if any(fnmatch(path.name, pattern) for pattern in how.names):
            return known
    patterns = ", ".join(pattern for how in FORMS.values() for pattern in how.names)
    raise InputError(f"{path}: name the file in one of these ways: {patterns}")


def _save(games: Games, meta: tuple[Meta, ...], path: Path, form: FormName | None) -> None:
    how = FORMS[check_writable(path, form)]
    write_file(path, lambda work: how.write(work, games, meta))


def _checked(path: Path, raw: Raw, illegal: Illegal) -> Iterator[Checked]:
    """Chunks; an error at a refused game if that is asked, and always at a wholly refused chunk."""
    for one in check(raw):
        refused = _refusals(path, one)
        if refused and illegal == "fail":
            raise refused[0].error()
        if len(refused) >= CHUNK:
            raise InputError(
                f"{path}: {len(refused)} games in a row are illegal; the first: {refused[0]}."
                " Either the file is damaged, or it has another form than it seems: name the form"
            )
        yield one


def _refusals(path: Path, one: Checked) -> list[Refusal]:
    return [Refusal(str(path), game, *fault) for game, fault in one.faults.items()]


def _records(path: Path, form: FormName, raw: Raw, parts: Sequence[Checked]) -> Records:
    good = np.concatenate([np.empty(0, dtype=np.intp), *(one.good for one in parts)])
    skipped = [refusal for one in parts for refusal in _refusals(path, one)]
    origin = f"file {path.name} sha256={sha256(path)[:16]}"
    moves = torch.from_numpy(raw.moves[good])
    return Records(
        Games(moves, f"{origin} without={len(skipped)}" if skipped else origin),
        form,
        [raw.meta[game] for game in good.tolist()] if raw.meta else (),
        torch.from_numpy(good.astype(np.int64)),
        join([one.ends for one in parts]),
        skipped,
        raw.notes,
    )
