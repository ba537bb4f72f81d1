"""Pairs of games that differ in their last move: the clean and the corrupted run of patching."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.tokens import TOKEN_OF_SQUARE, token_of, tokens
from ..othello.boards import unpack
from ..othello.games import Games
from ..othello.squares import MAX_PLIES, NO_MOVE, name


@dataclass(frozen=True)
class Pairs:
    """Histories of the same length, and two moves that tell them apart."""

    clean: Games
    corrupted: Games
    answer: Int64[Tensor, " pair"]
    """The square of a move that is legal behind the clean history alone."""
    against: Int64[Tensor, " pair"]
    """The square of one that is legal behind the corrupted history alone."""

    def __post_init__(self) -> None:
        lengths = self.clean.lengths()
        if not torch.equal(lengths, self.corrupted.lengths()):
            raise InputError("the two histories of a pair must be of the same length")
        if not len(lengths) == len(self.answer) == len(self.against):
            raise InputError("each pair of histories needs an answer and a move against it")
        for square in torch.cat([self.answer, self.against]).tolist():
            token_of(square)

    def __len__(self) -> int:
        return len(self.answer)

    def last(self) -> Int64[Tensor, " pair"]:
        """The ply at which both are read."""
        return self.clean.lengths() - 1

    def ids(self, model: GPT, which: str = "clean") -> Int64[Tensor, "pair ply"]:
        """Token ids of the clean or the corrupted histories."""
        games: Games = getattr(self, which)
        return tokens(games)[:, : int(self.last().max()) + 1].to(model.device)

    def metric(self, logits: Float[Tensor, "pair ply token"]) -> Float[Tensor, " pair"]:
        """Logit of the answer less that of the move against it, behind the history; nats."""
        there = logits[torch.arange(len(self)), self.last()]
        answer, against = (
            TOKEN_OF_SQUARE[x].to(logits.device)[:, None] for x in (self.answer, self.against)
        )
        return (there.gather(1, answer) - there.gather(1, against))[:, 0]


def pair_of(
    clean: Games, corrupted: Games, answer: int | None = None, against: int | None = None
) -> Pairs:
    """A pair of one's own: two histories, and the moves that tell them apart.

    Args:
        clean: one history.
        corrupted: another of the same length, with the same side to move behind it.
        answer: square of a move that only the clean one allows; by default the first there is.
        against: of one that only the corrupted one allows, likewise.

    Raises:
        InputError: not one history each, another length or side to move, or no such moves.
    """
    if len(clean) != 1 or len(corrupted) != 1:
        raise InputError("a pair is of one clean and one corrupted history")
    if not torch.equal(clean.lengths(), corrupted.lengths()):
        raise InputError("the two histories of a pair must be of the same length")
    ends = [games.replay()[-1:] for games in (clean, corrupted)]
    if not torch.equal(ends[0].black, ends[1].black):
        raise InputError("the two histories leave different sides to move: mine would be theirs")
    legal = [unpack(end.legal())[0] for end in ends]
    only = [legal[0] & ~legal[1], legal[1] & ~legal[0]]
    chosen: list[int] = []
    for asked, here, which in zip((answer, against), only, ("clean", "corrupted"), strict=True):
        if asked is not None and not bool(here[asked]):
            raise InputError(f"{name(asked)} is not a move that only the {which} history allows")
        if not bool(here.any()):
            raise InputError(f"the {which} history allows no move that the other does not")
        chosen.append(int(here.nonzero()[0]) if asked is None else asked)
    moves = torch.tensor(chosen)
    return Pairs(clean, corrupted, moves[:1], moves[1:])


def find_pairs(
    games: Games, count: int, *, seed: int = 0, plies: tuple[int, int] = (5, 30)
) -> Pairs:
    """Pairs made from games: one move of each is exchanged for another that the rules allow there.

    Both histories leave the same side to move, and each has a legal move that the other has not.

    Args:
        games: from which; each gives one pair at most.
        count: of pairs.
        seed: of plies, moves and answers.
        plies: shortest and longest history.

    Raises:
        InputError: the games do not hold so many; no such number or length.
    """
    low, high = plies
    if count < 1 or not 1 <= low <= high <= MAX_PLIES - 1:
        raise InputError(
            f"{count} pairs of {low} to {high} plies: ask for at least one, of 1 to"
            f" {MAX_PLIES - 1} plies, the shorter first"
        )
    generator = torch.Generator().manual_seed(seed)
    length = torch.randint(low, high + 1, (len(games),), generator=generator)
    kept = (games.lengths() >= length).nonzero()[:, 0]
    moves, length = games.moves[kept].clone(), length[kept]
    moves[torch.arange(moves.shape[1]) >= length[:, None]] = NO_MOVE
    shorter = moves.clone()
    rows = torch.arange(len(kept))
    shorter[rows, length - 1] = NO_MOVE
    earlier = Games(shorter, games.origin)
    before = earlier.replay()[earlier.lengths().cumsum(0) - 1]
    played = moves[rows, length - 1].long()
    other = unpack(before.legal()).float()
    other[rows, played] = 0
    free = (other.sum(1) > 0).nonzero()[:, 0]
    swapped = torch.multinomial(other[free], 1, generator=generator)[:, 0]
    one, two = before[free].after(played[free]), before[free].after(swapped)
    legal_one, legal_two = unpack(one.legal()), unpack(two.legal())
    only_one, only_two = legal_one & ~legal_two, legal_two & ~legal_one
    good = (one.black == two.black) & only_one.any(1) & only_two.any(1)
    good = good.nonzero()[:, 0][:count]
    if len(good) < count:
        raise InputError(f"{len(games):,} games make only {len(good)} such pairs: take more games")
    corrupted = moves[free[good]].clone()
    corrupted[torch.arange(count), length[free[good]] - 1] = swapped[good].to(corrupted.dtype)
    answer, against = (
        torch.multinomial(only[good].float(), 1, generator=generator)[:, 0]
        for only in (only_one, only_two)
    )
    origin = f"pairs of {games.origin}"
    return Pairs(Games(moves[free[good]], origin), Games(corrupted, origin), answer, against)
