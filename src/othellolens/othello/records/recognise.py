"""Which form a game file has, by its content; its name counts for nothing."""

import re
from pathlib import Path

from ...errors import InputError
from . import npy, pgn, pickles, tensors, wthor
from .record import FormName
from .text import decode

_HEAD = 1 << 12
_MOVE = re.compile(r"\s*([a-hA-H][1-8]|--|pa)")
_PACKED = {
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7z",
    b"\xfd7zXZ": "xz",
}


class UnknownForm(InputError):
    """A file that is no game file at all, as far as its beginning says."""


def recognise(path: Path) -> FormName:
    """The form of a file.

    Raises:
        UnknownForm: nothing in it looks like games.
        InputError: no such file, empty, or numbers that can be read in two ways.
    """
    head = first_bytes(path)
    if head.startswith(npy.MAGIC):
        return npy.which(path)
    tests: tuple[tuple[FormName, bool], ...] = (
        ("wthor", wthor.knows(head, path.stat().st_size)),
        ("pickle", pickles.knows(head)),
        ("safetensors", tensors.knows(head)),
        ("pgn", pgn.knows(decode(head))),
        ("text", _MOVE.match(decode(head)) is not None),
    )
    for form, fits in tests:
        if fits:
            return form
    raise UnknownForm(f"{path} is of no known form{_hint(head)}")


def first_bytes(path: Path) -> bytes:
    """The beginning of a file.

    Raises:
        InputError: no such file, or empty.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise InputError(f"{path} is empty: copy it again")
    return head


def _hint(head: bytes) -> str:
    for magic, what in _PACKED.items():
        if head.startswith(magic):
            return f" but a {what} archive: unpack it first"
    return (
        ": games are WTHOR, PGN, text (one game a line), .npy arrays, lists of lists in a pickle,"
        " or token ids in safetensors"
    )
