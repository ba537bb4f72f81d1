"""Whether a player's output is that of something that knows the board; no activation is read.

Everything here is a pure function of a `Player` (tokens in, logits out), so that a model, an oracle
that knows the rules and an untrained model go through the same code.
"""

from .agreement import Agreement, agreement, different_pairs, transposition_pairs
from .behaviour import PHASES, Behaviour, behaviour
from .detours import Detours, Kind, beginnings, detours
from .myhill_nerode import Compression, Distinction, compression, distinction
from .players import EPSILON, Player, check_epsilon, oracle, player_of

__all__ = [
    "EPSILON",
    "PHASES",
    "Agreement",
    "Behaviour",
    "Compression",
    "Detours",
    "Distinction",
    "Kind",
    "Player",
    "agreement",
    "beginnings",
    "behaviour",
    "check_epsilon",
    "compression",
    "detours",
    "different_pairs",
    "distinction",
    "oracle",
    "player_of",
    "transposition_pairs",
]
