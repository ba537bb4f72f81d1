"""What the rules say of positions and moves, slow and obvious: sets of squares and loops.

It shares nothing with `othellolens.othello`. Square number: 8 * letter + (digit - 1).
"""

from reference.othello_by_lists import board_of, legal_moves, other, play, start

AROUND = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)]
"""(letters, digits) of the directions 0 to 7: up, then clockwise on the board as it is drawn."""
SIDES = [(0, -1), (1, 0), (0, 1), (-1, 0)]


def at(square: int, letters: int, digits: int) -> int | None:
    """The square so many letters and digits away, if it is on the board."""
    letter, digit = square // 8 + letters, square % 8 + digits
    return 8 * letter + digit if 0 <= letter < 8 and 0 <= digit < 8 else None


def beside(square: int, steps: list[tuple[int, int]]) -> set[int]:
    """The neighbours of a square that are on the board."""
    found = set()
    for letters, digits in steps:
        neighbour = at(square, letters, digits)
        if neighbour is not None:
            found.add(neighbour)
    return found


def flips_by_direction(square: int, mine: set[int], theirs: set[int]) -> dict[int, set[int]]:
    """For each direction in which a move flanks, what it turns over."""
    flips: dict[int, set[int]] = {}
    if square in mine or square in theirs:
        return flips
    for number, (letters, digits) in enumerate(AROUND):
        line, place = set(), at(square, letters, digits)
        while place is not None and place in theirs:
            line.add(place)
            place = at(place, letters, digits)
        if line and place is not None and place in mine:
            flips[number] = line
    return flips


def movers(moves: list[int]) -> list[tuple[bool, bool, dict[int, set[int]]]]:
    """For each move whether Black made it, whether the opponent passed before, and its flips."""
    board, sign, rows = start(), "X", []
    for number, square in enumerate(moves):
        passed = number > 0 and not legal_moves(board, sign)
        sign = other(sign) if passed else sign
        mine, theirs = (owned(board, side) for side in (sign, other(sign)))
        rows.append((sign == "X", passed, flips_by_direction(square, mine, theirs)))
        board, sign = play(board, square, sign), other(sign)
    return rows


def owned(board: list[list[str]], sign: str) -> set[int]:
    return {square for square in range(64) if board[square % 8][square // 8] == sign}


def legal(mine: set[int], theirs: set[int]) -> set[int]:
    return legal_moves(board_of(mine, theirs), "X")


def potential(mine: set[int], theirs: set[int]) -> set[int]:
    """Empty squares beside a disc of theirs."""
    empty = set(range(64)) - mine - theirs
    return {square for square in empty if beside(square, AROUND) & theirs}


def frontier(own: set[int], others: set[int]) -> set[int]:
    empty = set(range(64)) - own - others
    return {square for square in own if beside(square, AROUND) & empty}


def line(square: int, letters: int, digits: int) -> set[int]:
    """All squares of the line through a square, both ways."""
    squares = {square}
    for sign in (1, -1):
        place = at(square, sign * letters, sign * digits)
        while place is not None:
            squares.add(place)
            place = at(place, sign * letters, sign * digits)
    return squares


def is_safe(square: int, letters: int, digits: int, filled: set[int], found: set[int]) -> bool:
    """Whether a disc cannot be turned over along one line, given the stable discs so far."""
    ends = [at(square, letters, digits), at(square, -letters, -digits)]
    return line(square, letters, digits) <= filled or any(e is None or e in found for e in ends)


def stable(own: set[int], others: set[int]) -> set[int]:
    filled, found = own | others, set[int]()
    while True:
        more = {
            square
            for square in own
            if all(is_safe(square, *direction, filled, found) for direction in AROUND[:4])
        }
        if more == found:
            return found
        found = more


def regions(mine: set[int], theirs: set[int], *, diagonal: bool) -> list[set[int]]:
    """The connected regions of empty squares, in the order of their lowest squares."""
    rest, found = set(range(64)) - mine - theirs, []
    while rest:
        region, edge = set(), {min(rest)}
        while edge:
            region |= edge
            steps = AROUND if diagonal else SIDES
            edge = {n for square in edge for n in beside(square, steps)} & rest - region
        found.append(region)
        rest -= region
    return found
