"""Ten thousand random games for the round trips, made once."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from othellolens.othello.games import Games


@pytest.fixture(scope="session")
def many() -> "Games":
    """10,000 random games; one in three has a pass."""
    from othellolens.othello.games import random_games

    return random_games(10_000, seed=3)
