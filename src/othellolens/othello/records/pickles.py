"""The original repository's gen10e5__*.pickle: a list of lists of squares 0..63.

A pickle is a program, and Python's own unpickler runs it. Refusing every name in a subclass's
`find_class` stops the worst, but 20 bytes can still ask for gigabytes (a string, a memo slot
number), so we run the program ourselves: here are the few instructions that a list of lists of
integers needs, working on lists, integers and strings alone. Everything else is refused by name
before anything happens. What is held is at most some hundred times the size of the file.

Instructions: https://docs.python.org/3/library/pickletools.html
"""

import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES, NO_MOVE, SQUARES
from .record import Fault, Raw, rows_of

Value = int | float | str | list[Any] | dict[Any, Any] | None
"""None is the mark that opens a list."""

_SMALL_INTEGERS = re.compile(rb"(?:K.)+", re.DOTALL)
_STARTS = (b"]q", b"](", b"].", b"(l")
_MOST_PROTOCOL = 5


class Refused(Exception):
    """The program is no list of lists of integers; the text says why."""


class Machine:
    """Runs a pickle that holds nothing but lists, integers and strings.

    With `records` it may hold dictionaries and floating-point numbers, too.
    """

    def __init__(self, program: bytes, *, records: bool = False) -> None:
        self.program = program
        self.steps = {**_STEPS, **_RECORD_STEPS} if records else _STEPS
        self.at = 0
        self.stack: list[Value] = []
        self.memo: dict[int, Value] = {}

    def run(self) -> Value:
        """What the program leaves.

        Raises:
            Refused: an instruction that does more than build lists, or a damaged program.
        """
        while (code := self.take(1)) != b".":
            if code == b"K":
                self.small_integers()
            elif step := self.steps.get(code):
                step(self)
            else:
                self.refuse(code)
        if len(self.stack) != 1 or self.at != len(self.program):
            raise Refused("it is damaged: something is left over at its end")
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """The next bytes of the program."""
        piece = self.program[self.at : self.at + count]
        if len(piece) != count:
            raise Refused("it is truncated")
        self.at += count
        return piece

    def line(self) -> bytes:
        """The rest of a line of the program."""
        end = self.program.find(b"\n", self.at)
        if end < 0:
            raise Refused("it is truncated")
        piece, self.at = self.program[self.at : end], end + 1
        return piece

    def number(self, width: int) -> int:
        """An unsigned number of the program."""
        return int.from_bytes(self.take(width), "little")

    def small_integers(self) -> None:
        """A run of one-byte integers, which is nearly all of such a file."""
        run = _SMALL_INTEGERS.match(self.program, self.at - 1)
        if run is None:
            raise Refused("it is truncated")
        self.stack.extend(run[0][1::2])
        self.at = run.end()

    def pop(self) -> Value:
        """The top of the stack."""
        if not self.stack:
            raise Refused("it is damaged: it takes more than it has")
        return self.stack.pop()

    def since_mark(self) -> list[Value]:
        """Everything above the last mark, which goes too."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is None:
                found = self.stack[i + 1 :]
                del self.stack[i:]
                return found
        raise Refused("it is damaged: it closes a list that it never opened")

    def append(self, values: list[Value]) -> None:
        """Put values at the end of the list on top of the stack."""
        top = self.stack[-1] if self.stack else None
        if not isinstance(top, list):
            raise Refused("it is damaged: it appends to what is no list")
        top.extend(values)

    def enter(self, items: list[Value]) -> None:
        """Put keys and values into the dictionary on top of the stack."""
        top = self.stack[-1] if self.stack else None
        if not isinstance(top, dict):
            raise Refused("it is damaged: it enters items into what is no dictionary")
        top.update(_pairs(items))

    def remember(self, slot: int) -> None:
        """Keep the top of the stack under a number."""
        if not self.stack or self.stack[-1] is None:
            raise Refused("it is damaged: it keeps what it does not have")
        self.memo[slot] = self.stack[-1]

    def recall(self, slot: int) -> None:
        """Put on the stack what was kept under a number."""
        if slot not in self.memo:
            raise Refused("it is damaged: it recalls what it never kept")
        self.stack.append(self.memo[slot])

    def text(self, piece: bytes) -> None:
        """Strings are of use only to name what is refused."""
        self.stack.append(piece.decode("utf-8", "replace"))

    def refuse(self, code: bytes) -> None:
        """Name what a program wanted that must not be had."""
        if code in (b"c", b"i"):
            raise Refused(f"it asks for {_shown(self.line())}.{_shown(self.line())}")
        if code == b"\x93":
            member, module = self.pop(), self.pop()
            raise Refused(f"it asks for {_shown(module)}.{_shown(member)}")
        known = (op.name for op in pickletools.opcodes if op.code == code.decode("latin-1"))
        raise Refused(f"it holds the instruction {next(known, repr(code))}")


def knows(head: bytes) -> bool:
    """Whether a file begins as a pickle: with a protocol number or, before 2.0, with a list."""
    modern = len(head) > 1 and head[0] == 0x80 and head[1] <= _MOST_PROTOCOL
    return modern or head.startswith(_STARTS)


def read_pickle(path: Path) -> Raw:
    """Games of any number, each at most 60 squares.

    Raises:
        InputError: anything but a list of lists of integers, by name; nothing of it is run.
    """
    try:
        found = Machine(path.read_bytes()).run()
    except Refused as error:
        raise InputError(
            f"{path} is a pickle that is not read: {error}."
            " Only lists of lists of squares (0..63) are; nothing was run"
        ) from None
    if not isinstance(found, list):
        raise InputError(f"{path} is a pickle of {_kind(found)}, not of a list of games")
    faults = {i: fault for i, game in enumerate(found) if (fault := _fault(game))}
    rows = [b"" if i in faults else _row(game) for i, game in enumerate(found)]
    return Raw(rows_of(rows), faults=faults)


def write_pickle(path: Path, games: Games) -> None:
    """A list of lists of squares; names and scores are not kept."""
    lists = [[square for square in game if square != NO_MOVE] for game in games.moves.tolist()]
    path.write_bytes(pickle.dumps(lists, protocol=4))


def _row(game: Value) -> bytes:
    squares = game if isinstance(game, list) else []
    return bytes(square for square in squares if isinstance(square, int))


def _fault(game: Value) -> Fault | None:
    if not isinstance(game, list):
        return Fault(0, f"{_kind(game)} stands where a list of squares should")
    for ply, square in enumerate(game):
        if not isinstance(square, int) or square not in SQUARES:
            found = square if isinstance(square, int) else _kind(square)
            return Fault(ply, f"{found} is no square (0..63)")
    if len(game) > MAX_PLIES:
        return Fault(MAX_PLIES, f"a game has at most {MAX_PLIES} moves, this one {len(game)}")
    return None


def _kind(value: Value) -> str:
    known = {int: "a number", float: "a fraction", str: "a string", list: "a list"}
    known |= {dict: "a dictionary", type(None): "a mark"}
    return known[type(value)]


def _shown(what: Value | bytes) -> str:
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else what
    return repr(text[:60])[1:-1] if isinstance(text, str) else _kind(text)


def _signed(piece: bytes) -> int:
    return int.from_bytes(piece, "little", signed=True)


def _decimal(line: bytes) -> int:
    if not re.fullmatch(rb"-?\d{1,19}L?", line):
        raise Refused(f"it holds {line[:20]!r}, no integer of a square")
    return int(line.rstrip(b"L"))


def _fraction(line: bytes) -> float:
    if not re.fullmatch(rb"-?\d{1,19}(\.\d{1,19})?", line):
        raise Refused(f"it holds {line[:20]!r}, no number of a case")
    return float(line)


def _short(m: Machine) -> bytes:
    """An integer of any length, of which eight bytes are plenty."""
    length = m.number(1)
    if length > 8:
        raise Refused(f"it holds an integer of {length} bytes")
    return m.take(length)


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": lambda m: _protocol(m.number(1)),
    b"\x95": lambda m: _frame(m.number(8)),
    b"]": lambda m: m.stack.append([]),
    b"(": lambda m: m.stack.append(None),
    b"l": lambda m: m.stack.append(m.since_mark()),
    b"t": lambda m: m.stack.append(m.since_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b"M": lambda m: m.stack.append(m.number(2)),
    b"J": lambda m: m.stack.append(_signed(m.take(4))),
    b"\x8a": lambda m: m.stack.append(_signed(_short(m))),
    b"I": lambda m: m.stack.append(_decimal(m.line())),
    b"L": lambda m: m.stack.append(_decimal(m.line())),
    b"q": lambda m: m.remember(m.number(1)),
    b"r": lambda m: m.remember(m.number(4)),
    b"p": lambda m: m.remember(_decimal(m.line())),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    b"g": lambda m: m.recall(_decimal(m.line())),
    b"\x8c": lambda m: m.text(m.take(m.number(1))),
    b"X": lambda m: m.text(m.take(m.number(4))),
}


def _pairs(items: list[Value]) -> dict[str, Value]:
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
        raise Refused("it holds a dictionary whose keys are no strings")
    return dict(zip(map(str, keys), values, strict=True))


_RECORD_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"}": lambda m: m.stack.append({}),
    b"d": lambda m: m.stack.append(_pairs(m.since_mark())),
    b"s": lambda m: m.enter([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.enter(m.since_mark()),
    b"G": lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
    b"F": lambda m: m.stack.append(_fraction(m.line())),
    b"V": lambda m: m.text(m.line()),
}


def _protocol(number: int) -> None:
    if number > _MOST_PROTOCOL:
        raise Refused(f"its protocol {number} is not known")


def _frame(length: int) -> None:
    """A hint on how much to read at once; the whole file is here already."""
