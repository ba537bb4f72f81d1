"""Trainings: SAEs that learn together from one stream, so that the model runs once for all.

Members whose recipes agree in `static()` and that read the same site are stacked (`sae.stack`).
"""

import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..activations.harvest import Harvest
from ..activations.mixing import Mixer
from ..activations.rows import SiteRows, not_finite
from ..activations.sources import Source
from ..artifact import write_file
from ..errors import InputError
from ..gpt.parallel import Team
from ..gpt.sites import Site
from .autoencoder import Recipe, SparseAutoencoder
from .plan import SAEPlan, SAEStep
from .train import CALIBRATION_ROWS, RunawayError, SAETrainer

_STACK_BYTES = {"cpu": 2**22, "cuda": 2**30}
# Features of a batch that one stack may hold. On a CPU larger stacks take memory and save no time.
_NEAR = 0.05
# How far, as a share, the number of features may be from what was asked for without a word.


@dataclass(frozen=True)
class Member:
    """One SAE of a training."""

    name: str
    recipe: Recipe
    site: Site
    seed: int = 0
    target: Site | None = None
    """What a transcoder rebuilds; None for an SAE."""
    skip: bool = False
    form: str = ""
    """What its architecture is called in tables."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where it reads."""
        return (self.site,) if self.target is None else (self.site, self.target)

    @property
    def kind(self) -> tuple[object, ...]:
        """Members of one kind can be stacked."""
        shape = tuple(sorted(self.recipe.static().items(), key=str))
        return (shape, self.site, self.target, self.skip)


@dataclass
class _Group:
    members: list[Member]
    trainer: SAETrainer

    def update(self, rows: SiteRows) -> list[SAEStep]:
        first = self.members[0]
        y = None if first.target is None else rows.of(first.target).x
        try:
            return self.trainer.update(rows.at, rows.of(first.site).x, y)
        except RunawayError as error:
            name = self.members[error.member].name
            raise InputError(f"{name}: {error}" if name else str(error)) from None


class Training:
    """SAEs that learn from one stream; saves and restores to the same bits."""

    def __init__(
        self,
        members: Sequence[Member],
        source: Source,
        plan: SAEPlan,
        *,
        seed: int = 0,
        team: Team = Team(),  # noqa: B008
        harvest: Harvest = Harvest(),  # noqa: B008
    ) -> None:
        """Begin.

        Args:
            members: what learns.
            source: of the rows, with every site that a member reads.
            plan: how long and how, for all.
            seed: of the mixing.
            team: the processes that share every batch.
            harvest: how the source reads, and how far ahead it is to.

        Raises:
            InputError: no members, two of one name, or a site that the source does not have.
        """
        check_members(members, source)
        self.plan, self.source, self.seed, self.harvest = plan, source, seed, harvest
        share, ahead = team.share(plan.batch), harvest.prefetch
        self.mixer = Mixer(source, batch=share, seed=seed, prefetch=ahead)
        self._batches: Generator[SiteRows] | None = None
        self.groups = [
            _Group(part, _trainer(part, source, plan, team)) for part in stacks(members, plan, team)
        ]

    @property
    def done(self) -> int:
        """Steps that were done."""
        return self.groups[0].trainer.done

    def steps(self) -> Iterator[dict[str, SAEStep]]:
        """Train to the end of the plan; what is reported of every member, by its name."""
        self._batches = self.mixer.batches(self.done)
        while self.done < self.plan.steps:
            rows = self._next(self._batches)
            yield {
                member.name: step
                for group in self.groups
                for member, step in zip(group.members, group.update(rows), strict=True)
            }

    def _next(self, batches: Iterator[SiteRows]) -> SiteRows:
        try:
            return next(batches)
        except InputError as error:
            raise InputError(f"step {self.done + 1}: {error}") from None

    def finish(self) -> Iterator[tuple[Member, SparseAutoencoder]]:
        """Hand the members over in eval mode, with metadata, their thresholds settled."""
        fresh = self._fresh()
        for group in self.groups:
            done = group.trainer.finish(fresh[group.members[0].site])
            for member, sae in zip(group.members, done, strict=True):
                sae.metadata = {**self._metadata(member), **sae.metadata}
                _check_reached(member, sae.metadata["l0"])
                yield member, sae

    def _fresh(self) -> dict[Site, Float[Tensor, "position _"]]:
        """The rows of the stream that come next, which nobody has learned from."""
        number = max(1, CALIBRATION_ROWS // self.mixer.batch)
        # Where the training just ended its stream goes on, and no window is read twice.
        batches = self._batches or self.mixer.batches(self.plan.steps)
        rows = SiteRows.cat([self._next(batches) for _ in range(number)])
        batches.close()
        self._batches = None
        for site, x in rows.x.items():
            if wrong := not_finite(rows.at, x):
                raise InputError(f"after step {self.done}: {site}: {wrong}; mend the activations")
        return dict(rows.x)

    def _metadata(self, member: Member) -> dict[str, Any]:
        out = {} if member.target is None else {"hook_name_out": member.target.hook_name}
        return {
            "model_name": self.source.model_name,
            "hook_name": member.site.hook_name,
            **out,
            "games": self.source.origin,
            "plan": asdict(self.plan),
            **({} if self.harvest.plain else {"harvest": self.harvest.told()}),
            "seed": member.seed,
            "mixing_seed": self.seed,
        }

    def save(self, path: Path) -> None:
        """Everything that `restore` needs, in one file, in one step."""
        state = {
            "members": [[member.name for member in group.members] for group in self.groups],
            "groups": [group.trainer.state() for group in self.groups],
        }
        write_file(path, lambda work: torch.save(state, work))

    def restore(self, path: Path) -> None:
        """Go on where `save` was called.

        Raises:
            InputError: the file is damaged or is of another training.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            names, states = state["members"], state["groups"]
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            raise InputError(f"{path} is no checkpoint of SAEs ({first})") from None
        if names != [[member.name for member in group.members] for group in self.groups]:
            raise InputError(f"{path} is a checkpoint of other members: begin anew")
        for group, saved in zip(self.groups, states, strict=True):
            group.trainer.restore(saved)


def check_members(members: Sequence[Member], source: Source) -> None:
    """Refuse what cannot be trained.

    Raises:
        InputError: no members, two of one name, or a site that the source does not have.
    """
    names = [member.name for member in members]
    if not names:
        raise InputError("there is nothing to train: name at least one SAE")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"two members have the name {sorted(twice)[0]}")
    for member in members:
        for site in member.sites:
            if site not in source.sites:
                there = ", ".join(map(str, source.sites))
                raise InputError(f"{member.name} reads {site}, but the rows are of {there}")


def _check_reached(member: Member, l0: float) -> None:
    """Warn of a number of features that calibration could not reach: too few are ever above 0."""
    asked = member.recipe.sparsity_target
    if asked is not None and abs(l0 - asked) > _NEAR * asked:
        name = f"{member.name}: " if member.name else ""
        warnings.warn(
            f"{name}{asked:g} features a position are out of reach, {l0:.3g} are on: ask for fewer,"
            " take a greater width or train for longer",
            stacklevel=3,
        )


def stacks(members: Sequence[Member], plan: SAEPlan, team: Team) -> list[list[Member]]:
    """Members in the order in which they came, those of one kind together."""
    kinds: dict[tuple[object, ...], list[Member]] = {}
    for member in members:
        kinds.setdefault(member.kind, []).append(member)
    parts: list[list[Member]] = []
    for alike in kinds.values():
        most = max(1, _STACK_BYTES[team.device.type] // (4 * plan.batch * alike[0].recipe.width))
        parts += [alike[first : first + most] for first in range(0, len(alike), most)]
    return parts


def _trainer(members: Sequence[Member], source: Source, plan: SAEPlan, team: Team) -> SAETrainer:
    first = members[0]
    return SAETrainer(
        [member.recipe for member in members],
        source.widths[first.site],
        plan,
        seed=[member.seed for member in members],
        d_out=None if first.target is None else source.widths[first.target],
        skip=first.skip,
        team=team,
    )
