"""The full judgement: each number is what the part that makes it says, however little memory."""

import json

import pytest
import torch
from torch import Tensor

from othellolens.concepts import everything, family, standard
from othellolens.encoder import Encoder, Neurons
from othellolens.errors import InputError
from othellolens.evaluation.counts import bytes_needed, count
from othellolens.evaluation.judgement import BOARD, Judgement, groups, judge_fully, packed
from othellolens.evaluation.ranks import rank
from othellolens.evaluation.reconstruction import reconstruct
from othellolens.evaluation.relations import detects, splitting
from othellolens.evaluation.scores import score
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.lens import Lens
from othellolens.othello.games import Games, random_games

SITE = Site("resid_post", layer=0)
CHOSEN = standard() + family("phase") + family("stable mine")


class Told(Encoder):
    """The facts mine and theirs of these games, each twice; and one feature of two."""

    def __init__(self, games: Games) -> None:
        super().__init__()
        self.d_in = None
        boards = games.replay()
        facts = (family("mine") + family("theirs")).of(boards[boards.at[:, 1] < 59]).float()
        self.rows = torch.cat([facts, facts, facts[:, :1] + facts[:, 64:65]], 1)
        self.seen = 0

    def encode(self, x: Tensor) -> Tensor:
        first, self.seen = self.seen, (self.seen + len(x)) % len(self.rows)
        return self.rows[first : first + len(x)]


@pytest.fixture(scope="module")
def held() -> Games:
    return random_games(50, seed=1)


def test_every_number_is_what_its_part_says(model: GPT, held: Games) -> None:
    lens = Lens(model, SITE, Neurons())
    judged = judge_fully(lens, held, concepts=CHOSEN)
    assert list(judged.families) == [BOARD, "empty", "legal", "phase", "stable mine"]
    whole = count(lens, held, CHOSEN)
    for name, chosen in groups(CHOSEN).items():
        counts, found = whole.only(*chosen.families), judged.families[name]
        scores = score(counts)
        assert found.concepts == int(scores.exists.sum())
        assert found.coverage.value == pytest.approx(scores.coverage(*chosen.families))
        assert found.coverage.low <= found.coverage.value <= found.coverage.high
        assert found.rebuilt.value == reconstruct(lens, held, counts=counts).f1
        assert found.split == splitting(lens, held, counts).gain(scores.exists)
        assert found.auroc_above == rank(lens, held, chosen).above()[0]
        number = detects(counts).sum(1)
        many = float(number[number > 0].float().mean()) if bool(number.any()) else 0.0
        assert found.polysemy == pytest.approx(many)
        assert found.chance < found.coverage.value
    assert Judgement.from_dict(json.loads(json.dumps(judged.to_dict()))) == judged


def test_an_encoder_that_has_each_fact_twice(model: GPT, held: Games) -> None:
    found = judge_fully(Lens(model, SITE, Told(held)), held, concepts=standard()).families[BOARD]
    assert found.coverage == (1.0, 1.0, 1.0)
    assert found.rebuilt.value == 1.0
    assert found.redundancy == pytest.approx(2, abs=0.05)
    assert found.polysemy == pytest.approx(1, abs=0.05)
    assert found.split == found.absorbed == 0.0
    assert found.chance < found.by_ply < 0.8


def test_little_memory_changes_nothing(model: GPT, held: Games) -> None:
    lens = Lens(model, SITE, Neurons())
    little = bytes_needed(len(count(lens, held[:4], family("over")).peak), 130)
    parts = list(packed(CHOSEN, 64, little))
    assert [part.families for part in parts][0] == ("mine", "theirs")
    assert len(parts) > 2
    assert judge_fully(lens, held, concepts=CHOSEN, memory=little, ranks=False) == judge_fully(
        lens, held, concepts=CHOSEN, ranks=False
    )


def test_a_family_that_never_comes_true_is_left_out(model: GPT, held: Games) -> None:
    few = random_games(12, seed=1)
    boards = few.replay()
    readable = boards[boards.at[:, 1] < 59]
    assert not bool(family("over").of(readable)[readable.at[:, 0] % 2 == 0].any())
    lens, chosen = Lens(model, SITE, Neurons()), family("over") + standard()
    judged = judge_fully(lens, few, concepts=chosen, ranks=False)
    assert list(judged.families) == [BOARD, "empty", "legal"]


def test_parts_are_whole_groups_that_fit() -> None:
    limit = bytes_needed(512, 1000)
    parts = list(packed(everything(), 512, limit))
    assert sum(len(part) for part in parts) == len(everything())
    assert all(bytes_needed(512, len(part)) <= limit for part in parts)
    names = [name for part in parts for name in groups(part)]
    assert names == list(groups(everything()))


def test_too_few_games_to_judge_on_are_refused(model: GPT, held: Games) -> None:
    lens = Lens(model, SITE, Neurons())
    for number in (0, 1, 3):
        with pytest.raises(InputError, match="no games to judge on|too few to change places"):
            judge_fully(lens, held[:number])
