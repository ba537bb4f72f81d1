"""What a model does by itself at a place, and from there on with something else in it.

Whatever is put in at a place changes nothing before it: those layers run once, however many
encoders are put in, and whatever is put in.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from ..gpt.fingerprint import fingerprint
from ..gpt.sites import Hook, Site
from ..gpt.tokens import tokens
from ..lens import Lens
from ..othello.games import Games
from ..othello.squares import NO_MOVE


class Part(NamedTuple):
    """Some games, up to the block at which the model goes on."""

    games: Games
    there: Bool[Tensor, " cell"]
    """Which plies of the games, one game after the other, hold a move."""
    resid: Float[Tensor, "game ply d_model"]
    logits: Float[Tensor, "game ply d_vocab"]


class Undisturbed:
    """The model's own activations and logits on some games, for every lens of one site and target.

    Memory: (d_model + d_vocab) floats a ply.
    """

    mean: Float[Tensor, " d_out"]
    """Of what the target holds."""
    spread: float
    """Squared distances from it, summed over positions."""
    known: dict[str, Any]
    """What was measured of it that does not depend on an encoder, by name."""

    @torch.no_grad()
    def __init__(self, lens: Lens, games: Games, *, batch: int = 64) -> None:
        """Run the model on the games.

        Args:
            lens: whose model, site and target are meant.
            games: what to play.
            batch: games at a time, now and later.

        Raises:
            InputError: there are no games.
        """
        if not len(games):
            raise InputError("there are no games to judge on")
        self.model, self.site, self.target, self.games = lens.model, lens.site, lens.target, games
        self.known = {}
        self._follows = lens.site == lens.target and lens.site.kind in _STREAM
        if self._follows:
            self.start = lens.site.layer + _STREAM[lens.site.kind]
        else:
            self.start = min(lens.site.layer, lens.target.layer)
        cuts = range(0, len(games), batch)
        sums = _Sums()
        self.parts = [self._part(games[i : i + batch], sums, lens.watch) for i in cuts]
        self.mean, self.spread, self.positions = sums.mean(), sums.spread(), sums.positions

    def _part(self, games: Games, sums: "_Sums", watch: Callable[[int], object]) -> Part:
        model, kept = self.model, dict[str, Tensor]()

        def keep(name: str) -> Hook:
            def see(x: Tensor, hook: Any) -> None:  # noqa: ARG001
                kept[name] = x

            return see

        last = self.start == model.cfg.n_layers
        begin = Site("resid_post", self.start - 1) if last else Site("resid_pre", self.start)
        ids = tokens(games)[:, : model.cfg.n_ctx].to(model.device)
        hooks = [(begin.hook_name, keep("resid")), (self.target.hook_name, keep("target"))]
        logits = model.run_with_hooks(ids, hooks)
        there = (games.moves[:, : model.cfg.n_ctx] != NO_MOVE).flatten().to(model.device)
        sums.add(self.target.vectors(kept["target"]).flatten(0, 1)[there])
        watch(len(games))
        return Part(games, there, kept["resid"], logits.float().cpu())

    def fits(self, lens: Lens, games: Games) -> bool:
        """Whether this is what the model of a lens does at its site and target on these games."""
        return (
            (lens.site, lens.target) == (self.site, self.target)
            and torch.equal(games.moves, self.games.moves)
            and (lens.model is self.model or fingerprint(lens.model) == fingerprint(self.model))
        )

    @torch.no_grad()
    def logits(self, part: Part, put: "Put") -> Float[Tensor, "game ply d_vocab"]:
        """With what `put` makes of the site's vectors and the target's in the target's place.

        Raises:
            InputError: the target comes before the site.
        """
        if self._follows:
            return self.model(put(part.resid, part.resid), start_at_layer=self.start).float().cpu()
        seen: list[Tensor] = []

        def see(x: Tensor, hook: Any) -> None:  # noqa: ARG001
            seen.append(self.site.vectors(x))

        def edit(y: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            if not seen:
                raise InputError(
                    f"{self.target} comes before {self.site}: what is read there cannot be spliced"
                )
            return self.target.with_vectors(y, put(seen[0], self.target.vectors(y)))

        hooks = [(self.site.hook_name, see), (self.target.hook_name, edit)]
        out = self.model.run_with_hooks(part.resid, hooks, start_at_layer=self.start)
        return out.float().cpu()


Put = Callable[
    [Float[Tensor, "game ply d_in"], Float[Tensor, "game ply d_out"]],
    Float[Tensor, "game ply d_out"],
]
_STREAM = {"resid_pre": 0, "resid_post": 1}
# Places that are all that passes between blocks, and the block after them, from their own.


def undisturbed(lens: Lens, games: Games, last: Undisturbed | None) -> Undisturbed:
    """The last one if it is of this lens and these games, or else a new one."""
    return last if last is not None and last.fits(lens, games) else Undisturbed(lens, games)


class _Sums:
    """First and second moments of rows, in double precision."""

    def __init__(self) -> None:
        self.total: Tensor | int = 0
        self.squares = 0.0
        self.positions = 0

    def add(self, y: Float[Tensor, "position d_out"]) -> None:
        y = y.double()
        self.total = self.total + y.sum(0)
        self.squares += float(y.pow(2).sum())
        self.positions += len(y)

    def mean(self) -> Float[Tensor, " d_out"]:
        return (torch.as_tensor(self.total) / self.positions).float()

    def spread(self) -> float:
        middle = torch.as_tensor(self.total) / self.positions
        return self.squares - self.positions * float(middle.pow(2).sum())
