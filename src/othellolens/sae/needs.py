"""What a training needs, told before any of it is made."""

from collections.abc import Sequence
from typing import NamedTuple

from ..activations.harvest import Harvest
from ..activations.mixing import Mixer
from ..activations.sources import Source
from ..errors import InputError
from ..gpt.parallel import Team
from .plan import SAEPlan
from .train import CALIBRATION_ROWS
from .training import Member, check_members, stacks

_IN_STEP, _AT_END = 12, 6
# Tensors of the size of the features that are alive at once, at most: of a batch, and of the rows
# on which thresholds are settled. Measured; see the tests.


class Needs(NamedTuple):
    """What a training will need."""

    stacks: int
    bytes: int
    """An estimate of its memory, beside the model."""

    def check(self, free: int) -> None:
        """Refuse what does not fit.

        Raises:
            InputError: it needs more than `free` bytes.
        """
        if self.bytes > free:
            raise InputError(
                f"this needs about {gib(self.bytes)} and {gib(free)} are free: take fewer SAEs at"
                " once, a smaller --width, --batch or --window"
            )


def gib(number: int) -> str:
    """A number of bytes as it is shown."""
    return f"{number / 2**30:,.1f} GiB"


def needs(
    members: Sequence[Member],
    source: Source,
    plan: SAEPlan,
    team: Team = Team(),  # noqa: B008
    harvest: Harvest = Harvest(),  # noqa: B008
) -> Needs:
    """What a training will need.

    Args:
        members: what learns.
        source: of the rows.
        plan: how long and how, for all.
        team: the processes that share every batch.
        harvest: how far ahead the source is to read.

    Raises:
        InputError: as in `Training`.
    """
    check_members(members, source)
    mixer = Mixer(source, batch=team.share(plan.batch), seed=0, prefetch=harvest.prefetch)
    parts = stacks(members, plan, team)
    step = max(_IN_STEP * len(part) * mixer.batch * part[0].recipe.width for part in parts)
    # At the end: rows of every site, and of one member at a time the features on all of them.
    widest = max(member.recipe.width for member in members)
    end = CALIBRATION_ROWS * (2 * sum(source.widths.values()) + _AT_END * widest)
    # Weights, their gradients and two moments.
    learned = 4 * sum(_weights(member, source) for member in members)
    return Needs(len(parts), mixer.bytes + 4 * (learned + max(step, end)))


def _weights(member: Member, source: Source) -> int:
    d_in, d_out = (source.widths[site] for site in (member.site, member.sites[-1]))
    return member.recipe.width * (d_in + d_out + 3) + d_out + member.skip * d_in * d_out
