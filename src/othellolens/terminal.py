"""What a command shows: progress bars on standard error, tables and results."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .artifact import refuse_below, refuse_existing, write_json
from .errors import InputError


class Progress:
    """One bar after the other: call it with what is under way, how far it is and has to go."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._what = ""

    def __call__(self, what: str, done: int, total: int, **show: object) -> None:
        if self._bar is None or what != self._what:
            self.close()
            # A file or a pipe gets a line now and then, not a thousand.
            pause = 0.2 if sys.stderr.isatty() else 10.0
            self._what = what
            self._bar = tqdm(total=total, desc=what, unit_scale=True, mininterval=pause)
        self._bar.total = max(total, done)
        if show:
            self._bar.set_postfix(show, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar that is open."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def say(text: str) -> None:
    """One line, or several, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_result(path: Path | None, result: object) -> None:
    """Write a verb's result where `--json` says; "-" is standard output."""
    if path is None:
        return
    if str(path) == "-":
        say(json.dumps(result, indent=2))
    else:
        write_json(path, result)


def check_result_file(args: Sequence[str]) -> None:
    """Refuse, before the work, a `--json` file that could not be written or is another thing.

    Raises:
        InputError: a folder, a file by another name than *.json that exists, or below a file.
    """
    for place, word in enumerate(args):
        option, given, value = word.partition("=")
        if option != "--json":
            continue
        path = Path(value if given else "".join(args[place + 1 : place + 2]))
        if str(path) == "-":
            return
        if path.is_dir():
            raise InputError(f"--json {path} is a folder: name a file in it")
        refuse_below(path)
        if path.suffix != ".json" and path.is_file():
            refuse_existing(path)


def table(rows: Sequence[dict[str, object]]) -> str:
    """Rows with the same keys as an aligned table: text to the left, numbers to the right."""
    if not rows:
        return ""
    head = list(rows[0])
    cells = [[_cell(row[key]) for key in head] for row in rows]
    left = [isinstance(rows[0][key], str) for key in head]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *cells]
    return "\n".join(_line(line, widths, left) for line in lines)


def _line(line: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    padded = (
        text.ljust(width) if flush else text.rjust(width)
        for text, width, flush in zip(line, widths, left, strict=True)
    )
    return "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)
