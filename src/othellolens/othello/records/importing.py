"""Many game files at once: what each holds, what was left out, whether its scores are true."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import InputError
from ..games import Games
from .check import join
from .files import read_records
from .recognise import UnknownForm, recognise
from .record import FormName, Illegal, Meta, Records

_NAMES = (".jou", ".trn")
"""Lists of names that lie beside WTHOR files: read with these."""
_MOST_REASONS = 3


@dataclass(frozen=True)
class Imported:
    """One file that was read."""

    file: Path
    records: Records
    seconds: float
    """Wall seconds to read, recognise, replay."""

    def row(self) -> dict[str, object]:
        """What the table says of the file."""
        ends = self.records.ends
        return {
            "file": self.file.name,
            "form": self.records.form,
            "games": len(self.records.games),
            "skipped": len(self.records.skipped),
            "with a pass": int((ends.passes > 0).sum()),
            "unfinished": int((~ends.over).sum()),
            "score agrees": self.records.agreeing(),
            "seconds": self.seconds,
        }


def import_files(
    sources: Sequence[Path],
    *,
    form: FormName | None = None,
    illegal: Illegal = "fail",
    watch: Callable[[str, int, int], object] | None = None,
) -> list[Imported]:
    """Read game files, and the files of folders.

    Args:
        sources: files, or folders: of these every game file (see `passed_over`).
        form: what the files are, where their content could be read in two ways.
        illegal: whether a game that breaks the rules is an error or left out.
        watch: called with what is under way, how many files are done, and of how many.

    Raises:
        InputError: a file that cannot be read, or nothing to read.
    """
    files = [file for source in sources for file in _files(source)]
    found: list[Imported] = []
    for file in files:
        started = time.perf_counter()
        records = read_records(file, form=form, illegal=illegal)
        found.append(Imported(file, records, time.perf_counter() - started))
        if watch is not None:
            watch("import", len(found), len(files))
    return found


def together(found: Sequence[Imported]) -> Records:
    """The records of all files, one after the other, as if they came from one.

    `numbers` counts through the files, games that were skipped included; `form` is the first's.
    """
    parts = [one.records for one in found]
    sizes = [len(part.games) + len(part.skipped) for part in parts]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    known = any(part.meta for part in parts)
    return Records(
        Games.cat([part.games for part in parts]),
        parts[0].form,
        [meta for part in parts for meta in _meta(part)] if known else (),
        torch.cat([part.numbers + start for part, start in zip(parts, starts, strict=True)]),
        join([part.ends for part in parts]),
        [refusal for part in parts for refusal in part.skipped],
        [note for part in parts for note in part.notes],
    )


def rows(found: Sequence[Imported]) -> list[dict[str, object]]:
    """The table: one row a file and, where there are several, one for all."""
    if len(found) == 1:
        return [found[0].row()]
    seconds = sum(one.seconds for one in found)
    whole = Imported(Path(f"all {len(found)} files"), together(found), seconds)
    form = {one.records.form for one in found}
    last = {**whole.row(), "form": form.pop() if len(form) == 1 else "mixed"}
    return [*(one.row() for one in found), last]


def passed_over(sources: Sequence[Path]) -> list[Path]:
    """Files of folders that are not read: nothing in them looks like games, or a name is hidden.

    Lists of names do not count; they are read with the games. A file that is named itself is never
    passed over, and a damaged game file is not either.
    """
    inside = [file for source in sources if source.is_dir() for file in _inside(source)]
    return [file for file in inside if not _looks_like_games(file)]


def remarks(found: Sequence[Imported], passed: Sequence[Path] = ()) -> list[str]:
    """Files and games that were left out and why, and what the readers noted; a few lines each."""
    lines = [f"passed over {file}: of no known form" for file in passed[:_MOST_REASONS]]
    if len(passed) > _MOST_REASONS:
        lines.append(f"passed over {len(passed) - _MOST_REASONS} more files of no known form")
    for one in found:
        skipped = one.records.skipped
        lines += [f"skipped {refusal}" for refusal in skipped[:_MOST_REASONS]]
        if len(skipped) > _MOST_REASONS:
            lines.append(f"skipped {len(skipped) - _MOST_REASONS} more of {one.file}")
    notes = Counter(note for one in found for note in dict.fromkeys(one.records.notes))
    return lines + [f"{count} of {len(found)} files: {note}" for note, count in notes.items()]


def results(found: Sequence[Imported]) -> list[dict[str, object]]:
    """The table with every reason, for a file of results."""
    return [
        {
            **one.row(),
            "file": str(one.file),
            "origin": one.records.games.origin,
            "refused": [
                {"game": refusal.game, "ply": refusal.ply, "reason": refusal.reason}
                for refusal in one.records.skipped
            ],
            "notes": list(one.records.notes),
        }
        for one in found
    ]


def _files(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    read = [file for file in _inside(source) if _looks_like_games(file)]
    if not read:
        raise InputError(f"{source} holds no game files: name a folder of them, or files")
    yield from read


def _inside(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if file.suffix.lower() not in _NAMES]


def _looks_like_games(file: Path) -> bool:
    if file.name.startswith("."):
        return False
    try:
        recognise(file)
    except UnknownForm:
        return False
    except InputError:
        # Damaged or ambiguous: for the reader to say.
        return True
    return True


def _meta(part: Records) -> Sequence[Meta]:
    return part.meta or (Meta(),) * len(part.games)
