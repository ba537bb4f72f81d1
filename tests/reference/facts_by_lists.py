"""Facts of positions by sets of squares and loops; shares nothing with `othellolens`.

A position is (mine, theirs, black to move, ply of the last move). Every family of concepts is a
function from it to the set of its true facts, each written as (square, detail).
"""

from typing import NamedTuple

from reference import truth_by_lists as slow

NAMES = ["up", "up right", "right", "down right", "down", "down left", "left", "up left"]
"""Of the directions of `truth_by_lists.AROUND`."""
EDGES = {
    "letter a": [s for s in range(64) if s // 8 == 0],
    "letter h": [s for s in range(64) if s // 8 == 7],
    "digit 1": [s for s in range(64) if s % 8 == 0],
    "digit 8": [s for s in range(64) if s % 8 == 7],
}


class Position(NamedTuple):
    mine: set[int]
    theirs: set[int]
    black: bool
    ply: int

    @property
    def empty(self) -> set[int]:
        return set(range(64)) - self.mine - self.theirs

    def side(self, black: bool) -> set[int]:
        return self.mine if self.black == black else self.theirs


Fact = tuple[int | None, str]


def squared(squares: set[int]) -> set[Fact]:
    return {(square, "") for square in squares}


def title(square: int) -> str:
    return "abcdefgh"[square // 8] + str(square % 8 + 1)


def lines_from(square: int, p: Position) -> dict[str, list[int]]:
    """For each direction in which a move on a square flanks, what it flanks, nearest first."""
    found = {}
    for number, line in slow.flips_by_direction(square, p.mine, p.theirs).items():
        letters, digits = slow.AROUND[number]
        row, place = [], slow.at(square, letters, digits)
        while place in line:
            row.append(place)
            place = slow.at(place, letters, digits)
        found[NAMES[number]] = row
    return found


def beside(own: set[int], p: Position) -> set[int]:
    return {square for square in p.empty if slow.beside(square, slow.AROUND) & own}


def band(number: int) -> str:
    if number == 0:
        return "0"
    for low, high in ((1, 2), (3, 5), (6, 9), (10, 14)):
        if low <= number <= high:
            return f"{low}-{high}"
    return "15 and more"


def by_parity(p: Position) -> bool:
    """Whether Black would move if nobody ever passed: moves 0, 2, 4, ... are Black's."""
    moves_made = p.ply + 1
    return moves_made % 2 == 0


def corners(own: set[int]) -> set[Fact]:
    number = len(own & {0, 7, 56, 63})
    return {(None, f"at least {n}") for n in range(1, number + 1)}


def more(own: set[int], others: set[int]) -> set[Fact]:
    return {
        (None, e) for e, where in EDGES.items() if len(own & set(where)) > len(others & set(where))
    }


def odd(p: Position) -> set[int]:
    found: set[int] = set()
    for region in slow.regions(p.mine, p.theirs, diagonal=True):
        if len(region) % 2:
            found |= region
    return found


def lines(p: Position) -> dict[int, dict[str, list[int]]]:
    return {square: lines_from(square, p) for square in p.empty}


FAMILIES = {
    "black": lambda p: squared(p.side(True)),
    "white": lambda p: squared(p.side(False)),
    "mine by parity": lambda p: squared(p.side(by_parity(p))),
    "theirs by parity": lambda p: squared(p.side(not by_parity(p))),
    "perimeter": lambda p: squared(beside(p.mine | p.theirs, p)),
    "beside mine": lambda p: squared(beside(p.mine, p)),
    "beside theirs": lambda p: squared(beside(p.theirs, p)),
    "odd region": lambda p: squared(odd(p)),
    "line": lambda p: {
        (s, f"{d} {len(row)}") for s, found in lines(p).items() for d, row in found.items()
    },
    "will flip": lambda p: {
        (s, title(disc)) for s, found in lines(p).items() for row in found.values() for disc in row
    },
    "legal by direction": lambda p: {(s, d) for s, found in lines(p).items() for d in found},
    "flippable": lambda p: squared(
        {disc for found in lines(p).values() for row in found.values() for disc in row}
    ),
    "corners mine": lambda p: corners(p.mine),
    "corners theirs": lambda p: corners(p.theirs),
    "edge mine": lambda p: more(p.mine, p.theirs),
    "edge theirs": lambda p: more(p.theirs, p.mine),
    "edge full": lambda p: {(None, e) for e, where in EDGES.items() if not set(where) & p.empty},
    "mobility mine": lambda p: {(None, band(len(slow.legal(p.mine, p.theirs))))},
    "mobility theirs": lambda p: {(None, band(len(slow.legal(p.theirs, p.mine))))},
    "phase": lambda p: {(None, f"plies {p.ply // 10 * 10}-{p.ply // 10 * 10 + 9}")},
    "empties odd": lambda p: {(None, "")} if len(p.empty) % 2 else set(),
    "ahead": lambda p: {
        (None, who)
        for who, a, b in (("mine", p.mine, p.theirs), ("theirs", p.theirs, p.mine))
        if len(a) > len(b)
    },
    "over": lambda p: set() if slow.legal(p.mine, p.theirs) else {(None, "")},
}  # fmt: skip
