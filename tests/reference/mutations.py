"""Game files made bad at random: what readers do with them must be success or an InputError.

Used by the tests (a few hundred a reader) and by `benchmarks/fuzz_records.py` (any number). The
library is imported inside the functions, as in every file beside the tests.
"""

import pickle
import random
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reference.othello_by_lists import EARLY_PASS, WIPE_OUT, random_game

if TYPE_CHECKING:
    from othellolens.othello.records import FormName

READERS: "tuple[FormName | str, ...]" = (
    "npy",
    "board_seqs_int",
    "board_seqs_string",
    "text",
    "pgn",
    "wthor",
    "wthor names",
    "pickle",
    "safetensors",
)
LIMIT = 10.0
"""Seconds that a reader may take for one of these files of a few hundred bytes."""
_WTHOR = (
    bytes([20, 12, 9, 30])
    + struct.pack("<IHHBBBB", 1, 0, 2012, 8, 0, 24, 0)
    + struct.pack("<HHHBB", 0, 0, 1, 40, 38)
    + bytes([56, 64, 33]).ljust(60, b"\0")
)
"""One game, f5 d6 c3, with numbers of names."""
_EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\x7f", b"\xff" * 8, b"\0" * 8)
_WORDS = (b"[", b"]", b'"', b"(", b"--", b"pa", b"{", b"1.", b"38-26", b"\n", b"a1", b"f5", b"\x94")


@dataclass
class Outcome:
    """What a reader made of mutated files."""

    reader: str
    mutations: int = 0
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    errors: list[str] = field(default_factory=list[str])
    """Anything but an InputError, with the file in hexadecimal."""


def fuzz(reader: str, count: int, seed: int, folder: Path) -> Outcome:
    """Read `count` mutated files; the same for the same seed."""
    chance = random.Random(f"{reader} {seed}")
    good, others = seeds(reader, folder), [x for r in READERS for x in seeds(r, folder)]
    outcome = Outcome(reader)
    for _ in range(count):
        content = mutate(chance.choice(good), others, chance)
        started = time.perf_counter()
        _one(outcome, content, folder, chance)
        took = time.perf_counter() - started
        outcome.mutations += 1
        outcome.seconds += took
        outcome.slowest = max(outcome.slowest, took)
    return outcome


def mutate(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to four changes: bits, bytes, words, cuts, repeats, or the head of another file."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(content) + 1)
        # The beginning says most about a file: look there more often.
        at = min(at, chance.randrange(130)) if chance.random() < 0.3 else at
        end = min(len(content), at + chance.choice((1, 1, 1, 2, 8, 60, 400)))
        change = chance.choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8))
        if change == 0 and at < len(content):
            bit = content[at] ^ 1 << chance.randrange(8)
            content = content[:at] + bytes([bit]) + content[at + 1 :]
        elif change == 1:
            content = content[:at] + chance.randbytes(end - at) + content[end:]
        elif change == 2:
            content = content[:at]
        elif change == 3:
            content = content[:at] + chance.randbytes(chance.choice((1, 2, 20))) + content[at:]
        elif change == 4:
            content = content[:at] + content[end:]
        elif change == 5:
            content = content[:end] + content[at:]
        elif change == 6:
            word = chance.choice(_EXTREMES)
            content = content[:at] + word + content[at + len(word) :]
        elif change == 7:
            content = content[:at] + chance.choice(_WORDS) + content[at:]
        else:
            content = chance.choice(others)[: chance.randrange(130)] + content[at:]
    return content


def seeds(reader: str, folder: Path) -> list[bytes]:
    """Good files of a form: short games, no games, one whole game."""
    import torch

    from othellolens.othello.games import Games
    from othellolens.othello.records import save_games

    if reader == "wthor names":
        head = bytes([20, 12, 9, 30]) + struct.pack("<IHHBBBB", 0, 2, 0, 0, 0, 0, 0)
        return [head + b"".join(x.ljust(n, b"\0") for x in (b"One", b"Two")) for n in (20, 26)]
    whole = random_game(random.Random(0))
    found: list[bytes] = []
    for games in ([WIPE_OUT, EARLY_PASS, [44, 29, 18]],) * 3 + ([whole], [[44, 29], []]):
        longest = max(len(game) for game in games)
        moves = torch.tensor([game + [-1] * (longest - len(game)) for game in games])
        path = folder / "seed"
        save_games(Games(moves.to(torch.int8), ""), path, form=reader)  # type: ignore[arg-type]
        found.append(path.read_bytes())
        path.unlink()
    if reader == "pickle":
        found += [pickle.dumps([EARLY_PASS, WIPE_OUT], protocol=p) for p in range(6)]
    if reader == "text":
        found.append(b"F5 f6 D3 g5 h5 h4 g7 h6 -- e7 f7\r\nf5D6pa\r\n")
    return found


def _one(outcome: Outcome, content: bytes, folder: Path, chance: random.Random) -> None:
    from othellolens.errors import InputError

    try:
        with time_limit(LIMIT):
            _read(outcome.reader, content, folder, chance)
        outcome.accepted += 1
    except InputError as error:
        outcome.refused += 1
        if "\n" in str(error) or str(folder) not in str(error):
            outcome.errors.append(f"not one line that names the file: {error!r} {content.hex()}")
    except Exception as error:
        outcome.errors.append(f"{type(error).__name__}: {error} {content.hex()}")


def _read(reader: str, content: bytes, folder: Path, chance: random.Random) -> None:
    """Read a file, as what it is or as what it seems, and hold what comes to its word."""
    from othellolens.othello.records import read_records

    path = folder / "games.wtb"
    illegal, known = chance.choice(("fail", "skip")), chance.random() < 0.5
    if reader == "wthor names":
        names = folder / chance.choice(("wthor.jou", "WTHOR.TRN"))
        names.write_bytes(content)
        path.write_bytes(_WTHOR)
        try:
            records = read_records(path, illegal=illegal)
        finally:
            names.unlink()
    else:
        path.write_bytes(content)
        records = read_records(path, form=reader if known else None, illegal=illegal)
    count = len(records.games)
    assert len(records.meta) in (0, count)
    assert len(records.numbers) == len(records.ends.passes) == count
    if chance.random() < 0.05:
        records.games.replay_table()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise in the main thread when the block takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
