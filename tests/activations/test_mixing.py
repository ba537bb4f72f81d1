"""Mixing: exact batches, each pass whole, resumable anywhere, and uncrowded."""

import gc
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import islice

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.activations.ahead import ahead
from othellolens.activations.crowding import crowding, expected, unshuffled
from othellolens.activations.mixing import Mixer
from othellolens.activations.rows import SiteRows
from othellolens.activations.sources import Played, Source
from othellolens.errors import InputError
from othellolens.gpt.sites import Site
from othellolens.othello.games import random_games

SITE = Site("resid_post", 0)


class Numbered:
    """Windows of `games` games of `length` rows; a row's vector is its number in the set."""

    sites = (SITE,)
    widths: Mapping[Site, int] = {SITE: 1}
    model_name, origin = "none", "numbers"

    def __init__(self, windows: int, games: int, length: int = 4) -> None:
        self.windows, self.games, self.length = windows, games, length
        self.read: list[int] = []
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.most_alive = 0

    def games_in(self, number: int) -> int:
        return self.games

    def rows_in(self, number: int) -> int:
        return self.games * self.length

    def window(self, number: int) -> SiteRows:
        self.alive = [ref for ref in self.alive if ref() is not None]
        rows = torch.arange(self.rows_in(number)) + number * self.rows_in(number)
        at = torch.stack([rows // self.length, rows % self.length], 1).to(torch.int32)
        window = SiteRows(at, {SITE: rows[:, None].float()})
        self.alive.append(weakref.ref(window.x[SITE]))
        self.most_alive = max(self.most_alive, len(self.alive))
        self.read.append(number)
        return window


def numbers(batches: Iterator[SiteRows], count: int) -> list[list[int]]:
    taken = list(islice(batches, count))
    for batch in taken:
        where = batch.at[:, 0] * 4 + batch.at[:, 1]
        assert torch.equal(where.float(), batch.x[SITE][:, 0])
    return [batch.x[SITE][:, 0].int().tolist() for batch in taken]


@pytest.mark.parametrize("batch", [1, 4, 5, 7])
def test_each_pass_holds_every_row_once(batch: int) -> None:
    mixer = Mixer(Numbered(3, 7), batch=batch, seed=0)
    assert mixer.rows == 84
    batches = numbers(mixer.batches(), 3 * 84)
    assert {len(rows) for rows in batches} == {batch}
    stream = sum(batches, [])
    passes = [stream[first : first + 84] for first in (0, 84, 168)]
    assert all(sorted(rows) == list(range(84)) for rows in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_windows_are_shuffled_whole_and_come_in_a_new_order_each_pass() -> None:
    source = Numbered(5, 7)
    batches = numbers(Mixer(source, batch=4, seed=0).batches(), 6 * 35)
    orders = [tuple(source.read[first : first + 5]) for first in range(0, 30, 5)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len(set(orders)) > 3
    first = sum(batches[:7], [])
    assert sorted(first) == list(range(orders[0][0] * 28, orders[0][0] * 28 + 28))
    assert first != sorted(first)
    # The same window, shuffled otherwise in the next pass.
    at = 5 + orders[1].index(orders[0][0])
    assert sum(batches[7 * at : 7 * at + 7], []) != first


def test_the_seed_decides() -> None:
    first, again, other = (
        numbers(Mixer(Numbered(3, 7), batch=5, seed=seed).batches(), 20) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(("windows", "batch"), [(3, 5), (1, 28), (1, 100)])
def test_any_batch_can_be_the_first(windows: int, batch: int, prefetch: int) -> None:
    unbroken = numbers(Mixer(Numbered(windows, 7), batch=batch, seed=3).batches(), 40)
    mixer = Mixer(Numbered(windows, 7), batch=batch, seed=3, prefetch=prefetch)
    for start in range(40):
        with closing(mixer.batches(start)) as batches:
            assert numbers(batches, min(3, 40 - start)) == unbroken[start : start + 3]


def test_only_the_windows_that_are_needed_are_read() -> None:
    source = Numbered(5, 7)
    mixer = Mixer(source, batch=4, seed=1)
    next(mixer.batches(1_000_000))
    assert len(source.read) == 1
    source.read.clear()
    # Seven batches a window: the 8th to 14th batch all lie in the second.
    numbers(mixer.batches(7), 7)
    assert len(source.read) == 1


def test_real_rows_are_the_same_with_any_prefetch() -> None:
    source = Played(tiny_model(), (SITE, Site("mlp_post", 1)), random_games(20, seed=1), window=5)
    plain, near, far = (
        Mixer(source, batch=5, seed=1, prefetch=prefetch).batches() for prefetch in (0, 1, 9)
    )
    for _, one, two, three in zip(range(600), plain, near, far, strict=False):
        for other in (two, three):
            assert torch.equal(one.at, other.at)
            assert all(torch.equal(one.x[site], other.x[site]) for site in source.sites)
    near.close()
    far.close()


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_no_more_windows_are_held_than_it_says(prefetch: int) -> None:
    source = Numbered(5, 7)
    mixer = Mixer(source, batch=5, seed=1, prefetch=prefetch)
    with closing(mixer.batches()) as batches:
        numbers(batches, 100)
    assert len(source.read) > 10
    assert source.most_alive <= 1 + prefetch
    row = 4 + 8
    assert mixer.bytes == (1 + prefetch) * 28 * (row + 8) + 2 * 5 * row


def others() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read ahead"]


def test_closing_stops_the_thread() -> None:
    batches = Mixer(Numbered(3, 7), batch=5, seed=0, prefetch=2).batches()
    assert not others()
    next(batches)
    assert len(others()) == 1
    batches.close()
    assert not others()


def test_a_forgotten_generator_stops_its_thread() -> None:
    for _ in Mixer(Numbered(3, 7), batch=5, seed=0, prefetch=2).batches():
        break
    gc.collect()
    assert not others()


@pytest.mark.parametrize("prefetch", [0, 1, 2])
def test_an_error_of_the_source_comes_out_where_the_window_would(prefetch: int) -> None:
    class Failing(Numbered):
        def window(self, number: int) -> SiteRows:
            if len(self.read) == 2:
                raise InputError("the third window is broken")
            return super().window(number)

    batches = Mixer(Failing(5, 7), batch=4, seed=0, prefetch=prefetch).batches()
    assert len(numbers(batches, 14)) == 14
    with pytest.raises(InputError, match="third window is broken"):
        next(batches)
    assert not others()


def test_items_are_made_ahead_and_no_further() -> None:
    made, enough = list[int](), threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    with closing(ahead(items(), 3)) as taken:
        assert next(taken) == 0
        # One is taken, three are ready; the fifth waits for room.
        assert enough.wait(10)
        assert not threading.Event().wait(0.05)
        assert made == [0, 1, 2, 3]


def in_order(source: Source, batch: int) -> Iterator[SiteRows]:
    rows = SiteRows.cat([source.window(number) for number in range(source.windows)])
    for first in range(0, len(rows) - batch + 1, batch):
        yield rows[first : first + batch]


@pytest.mark.parametrize(("games", "batch"), [(200, 64), (200, 190), (60, 55)])
def test_crowding_is_what_is_expected(games: int, batch: int) -> None:
    source = Numbered(4, games, length=59)
    mixed = crowding(Mixer(source, batch=batch, seed=0).batches(), 400, source)
    assert mixed.companions == pytest.approx(mixed.expected, rel=0.1)
    assert mixed.expected == pytest.approx((batch - 1) * 58 / (59 * games - 1))
    assert mixed.expected < 1
    assert mixed.most < 12
    plain = crowding(in_order(source, batch), 400, source)
    assert plain.companions == pytest.approx(plain.unshuffled, rel=0.05)
    assert plain.companions > 20 * mixed.companions
    assert plain.most >= min(batch, 59) - 1


def test_crowding_by_hand() -> None:
    at = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 2], [2, 0]], dtype=torch.int32)
    rows = SiteRows(at, {SITE: torch.zeros(5, 1)})
    found = crowding(iter([rows, rows[2:3]]), 2, Numbered(1, 3))
    # Game 0 has three rows with two companions each; of six rows, the others have none.
    assert (found.companions, found.most) == (1.0, 3)
    assert crowding([rows[2:], rows], 1, Numbered(1, 3)).companions == 0
    with pytest.raises(InputError, match="measure at least one"):
        crowding([rows], 0, Numbered(1, 3))


def test_expectations_at_the_edges() -> None:
    # A batch as large as a window holds whole games; so does an unshuffled one, but for its ends.
    assert expected(Numbered(2, 5), 20) == expected(Numbered(2, 5), 999) == 3
    assert expected(Numbered(2, 5), 1) == unshuffled(Numbered(2, 5), 1) == 0
    assert expected(Numbered(2, 5, length=1), 5) == unshuffled(Numbered(2, 5, length=1), 5) == 0
    assert unshuffled(Numbered(2, 5), 10**9) == pytest.approx(3)


@pytest.mark.parametrize("batch", [60, 300, 1024])
def test_windows_too_small_to_mix_are_refused_and_the_remedy_helps(batch: int) -> None:
    def source(window: int) -> Played:
        return Played(tiny_model(), SITE, random_games(1500, seed=0), window=window)

    with pytest.raises(InputError, match="windows of 50 games are too few to mix") as told:
        Mixer(source(50), batch=batch, seed=0)
    games, rows = map(int, re.findall(r"windows of (\d+) games, or batches of at most (\d+)",
                                      str(told.value))[0])  # fmt: skip
    Mixer(source(games), batch=batch, seed=0)
    Mixer(source(50), batch=rows, seed=0)
    with pytest.raises(InputError, match="too few to mix"):
        Mixer(source(50), batch=rows + 1, seed=0)


def test_a_single_window_is_all_there_is() -> None:
    assert numbers(Mixer(Numbered(1, 2), batch=30, seed=0).batches(), 4)
    with pytest.raises(InputError, match="too few to mix batches of 30"):
        Mixer(Numbered(2, 2), batch=30, seed=0)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Mixer(Numbered(1, 2), batch=0, seed=0), "at least 1 row, not 0"),
        (lambda: Mixer(Numbered(1, 2), batch=1, seed=0, prefetch=-1), "0 for none, not -1"),
        (lambda: Mixer(Numbered(0, 2), batch=1, seed=0), "no rows to mix"),
        (lambda: Mixer(Numbered(2, 0), batch=1, seed=0), "no rows to mix"),
        (lambda: Mixer(Numbered(1, 2), batch=1, seed=0).batches(-1), "no batch -1"),
    ],
)
def test_what_cannot_be_mixed_is_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()
