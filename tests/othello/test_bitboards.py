"""The rules on bitboards against the rules on lists, and perft against the published counts."""

import random

import numpy as np
import pytest
from reference import othello_by_lists as slow
from reference.othello_by_lists import Replayed

from othellolens.othello import bitboards
from othellolens.othello.boards import SYMMETRIES, pack, transform_squares

Position = tuple[set[int], set[int]]

PERFT = [4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]


def bits(squares: set[int]) -> int:
    return sum(1 << square for square in squares)


def array(sets: list[set[int]]) -> bitboards.Bits:
    return np.array([bits(one) for one in sets], dtype=np.uint64)


def from_games(replayed: Replayed, every: int) -> list[Position]:
    rows = [row for _, after in replayed for row in after]
    return [(row.mine, row.theirs) for row in rows[::every]]


def scattered(count: int, seed: int) -> list[Position]:
    """Positions that no game reaches: any disc anywhere, from nearly empty to full."""
    chance = random.Random(seed)
    positions: list[Position] = []
    for _ in range(count):
        full, mine = chance.uniform(0.05, 1.0), chance.uniform(0.05, 0.95)
        filled = {square for square in range(64) if chance.random() < full}
        own = {square for square in filled if chance.random() < mine}
        positions.append((own, filled - own))
    return positions


def by_hand() -> list[Position]:
    everything = set(range(64))
    row_1 = {8 * letter for letter in range(8)}
    column_a = set(range(8))
    return [
        (set(), set()),
        (everything, set()),
        (set(), everything),
        (everything - {0}, {0}),
        (set(), {27, 28, 35, 36}),
        # Full but for one square: a corner, an edge, the middle.
        *(
            ({63 - hole} if hole != 63 else {1}, everything - {hole, 63 - hole})
            for hole in range(64)
        ),
        # Six in a row between the ends, along each edge.
        ({0}, row_1 - {0, 56}),
        ({56}, row_1 - {0, 56}),
        ({0}, column_a - {0, 7}),
        ({7}, column_a - {0, 7}),
        # Lines that would flip only if they ran round the edge: a8 is next to b1 in number.
        ({6}, {7}),
        ({9}, {8}),
        ({5}, {6, 7, 8}),
        ({16}, {15, 14}),
        ({7}, {8, 9}),
        ({7}, {16}),
        ({0}, {15}),
        ({48, 57}, {56}),
        # Against the corners.
        ({0}, {9, 18, 27, 36, 45, 54}),
        ({63}, {9, 18, 27, 36, 45, 54}),
        ({7}, {14, 21, 28, 35, 42, 49}),
        ({56}, {14, 21, 28, 35, 42, 49}),
        # Seven theirs up to the edge, none of mine beyond.
        ({0}, row_1 - {0}),
        ({0}, {9, 18, 27, 36, 45, 54, 63}),
    ]


@pytest.fixture(scope="module")
def positions(replayed: Replayed) -> list[Position]:
    return from_games(replayed, every=5) + scattered(1500, seed=2) + by_hand()


def test_legal_moves_equal_the_reference(positions: list[Position]) -> None:
    mine, theirs = (array([side[i] for side in positions]) for i in (0, 1))
    expected = array([slow.legal_moves(slow.board_of(*one), "X") for one in positions])
    np.testing.assert_array_equal(bitboards.legal_moves(mine, theirs), expected)
    assert len(positions) > 4000
    assert (expected == 0).sum() > 20


def test_flips_equal_the_reference(positions: list[Position]) -> None:
    """On every empty square, whether legal or not: an illegal move turns nothing over."""
    chance, move, mine, theirs, expected = random.Random(3), [], [], [], []
    for own, others in positions:
        board = slow.board_of(own, others)
        empty = sorted(set(range(64)) - own - others)
        for square in chance.sample(empty, min(6, len(empty))):
            move.append({square})
            mine.append(own)
            theirs.append(others)
            expected.append(slow.flips(board, square, "X"))
    got = bitboards.flipped_by(array(move), array(mine), array(theirs))
    np.testing.assert_array_equal(got, array(expected))
    assert max(len(one) for one in expected) > 6
    assert sum(not one for one in expected) > 1000


def test_no_move_flips_nothing(positions: list[Position]) -> None:
    mine, theirs = (array([side[i] for side in positions]) for i in (0, 1))
    assert not bitboards.flipped_by(np.zeros_like(mine), mine, theirs).any()


def test_a_line_turned_over_from_corner_to_corner() -> None:
    theirs = {9, 18, 27, 36, 45, 54}
    got = bitboards.flipped_by(array([{63}]), array([{0}]), array([theirs]))
    assert int(got[0]) == bits(theirs)


@pytest.mark.parametrize("depth", range(1, 10))
def test_perft(depth: int) -> None:
    assert bitboards.perft(depth) == PERFT[depth - 1]


@pytest.mark.parametrize(
    "position", [(slow.WIPE_OUT, 9), (slow.EARLY_PASS, 8)], ids=["end", "pass"]
)
def test_perft_through_a_pass_and_an_end(position: tuple[list[int], int]) -> None:
    """From one move before: among the leaves are finished games or passes."""
    moves, plies = position
    before = slow.replay(moves)[plies - 2]
    mine, theirs = array([before.mine])[0], array([before.theirs])[0]
    board = slow.board_of(before.mine, before.theirs)
    for depth in range(1, 5):
        assert bitboards.perft_of(mine, theirs, depth) == slow.perft(depth, board, "X")


def test_no_plies_are_one_leaf() -> None:
    assert bitboards.perft(0) == 1


def test_the_reference_counts_as_published() -> None:
    assert [slow.perft(depth) for depth in range(1, 6)] == PERFT[:5]


def test_a_move_adds_one_disc_and_turns_over_only_theirs(positions: list[Position]) -> None:
    mine, theirs = (array([side[i] for side in positions]) for i in (0, 1))
    rows, squares = np.nonzero(bitboards.unpack(bitboards.legal_moves(mine, theirs)))
    move = np.uint64(1) << squares.astype(np.uint64)
    flips = bitboards.flipped_by(move, mine[rows], theirs[rows])
    assert len(rows) > 20_000
    assert (flips != 0).all()
    assert (flips & ~theirs[rows] == 0).all()
    own, others = mine[rows] | move | flips, theirs[rows] ^ flips
    assert (own & others == 0).all()
    discs = bitboards.count(mine[rows] | theirs[rows]) + 1
    np.testing.assert_array_equal(bitboards.count(own | others), discs)
    np.testing.assert_array_equal(
        bitboards.count(own), bitboards.count(mine[rows]) + 1 + bitboards.count(flips)
    )


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_the_rules_commute_with_the_symmetries(symmetry: int, positions: list[Position]) -> None:
    target = transform_squares(symmetry).tolist()

    def moved(squares: set[int]) -> set[int]:
        return {target[square] for square in squares}

    mine, theirs = (array([side[i] for side in positions]) for i in (0, 1))
    turned_mine, turned_theirs = (array([moved(s[i]) for s in positions]) for i in (0, 1))
    legal = bitboards.unpack(bitboards.legal_moves(mine, theirs))
    turned = bitboards.unpack(bitboards.legal_moves(turned_mine, turned_theirs))
    np.testing.assert_array_equal(turned[:, target], legal)


def test_unpack_spells_out_and_pack_undoes_it() -> None:
    chance = random.Random(5)
    words = np.array(
        [[chance.getrandbits(64) for _ in range(5)] for _ in range(7)], dtype=np.uint64
    )
    spelled = bitboards.unpack(words)
    assert (spelled.shape, spelled.dtype) == ((7, 5, 64), np.bool_)
    for index in np.ndindex(7, 5):
        assert spelled[index].tolist() == [bool(int(words[index]) >> s & 1) for s in range(64)]
    np.testing.assert_array_equal(pack(spelled), words)
    np.testing.assert_array_equal(bitboards.unpack(words[:, 1::2]), spelled[:, 1::2])
    np.testing.assert_array_equal(pack(spelled[:, 1::2]), words[:, 1::2])


def test_one_word_without_an_axis_is_64_squares() -> None:
    assert np.flatnonzero(bitboards.unpack(np.array(0b101, dtype=np.uint64))).tolist() == [0, 2]
    assert bitboards.unpack(np.array(0b101, dtype=np.uint64)).shape == (64,)


def test_count_is_the_number_of_set_bits() -> None:
    words = [0, 1, (1 << 64) - 1, 0x8000_0000_0000_0001, 0x0F0F_0F0F_0F0F_0F0F]
    got = bitboards.count(np.array(words, dtype=np.uint64))
    assert got.tolist() == [word.bit_count() for word in words]


def test_labels_say_mine_theirs_empty(positions: list[Position]) -> None:
    mine, theirs = (array([side[i] for side in positions[:4000]]).reshape(2, -1) for i in (0, 1))
    got = bitboards.labels(mine[:, ::2], theirs[:, ::2])
    assert got.shape == (2, 1000, 64)
    for value, where in enumerate((mine, theirs, ~(mine | theirs))):
        np.testing.assert_array_equal(got == value, bitboards.unpack(where[:, ::2]))


def test_results_do_not_depend_on_the_threads(
    positions: list[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = (array([side[i] for side in positions]) for i in (0, 1))
    whole = bitboards.legal_moves(mine, theirs), bitboards.labels(mine, theirs)
    monkeypatch.setattr(bitboards, "_CHUNK", 100)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    np.testing.assert_array_equal(bitboards.legal_moves(mine, theirs), whole[0])
    np.testing.assert_array_equal(bitboards.labels(mine, theirs), whole[1])
