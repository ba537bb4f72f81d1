"""Contents: what the passes over the games and the scores say, as the JSON that the page reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from ..evaluation.counts import CHOOSE
from ..evaluation.scores import Match, Scores
from ..lens import Lens
from ..othello.games import Games
from .diagrams import draw
from .examples import Examples
from .tally import Tally

SHARD = 64
"""Features a data file."""
_MATCH = ("concept", "square", "f1", "precision", "recall", "threshold")


@dataclass(frozen=True)
class Contents:
    """What was found, and what each data file says of it."""

    lens: Lens
    scores: Scores
    labels: Sequence[str | None] | None
    held: Games
    tally: Tally
    examples: Examples

    @property
    def features(self) -> int:
        """How many there are."""
        return len(self.tally.fires)

    def about(self, title: str | None) -> dict[str, object]:
        """What the head of the page says."""
        encoder, model = type(self.lens.encoder).__name__, self.lens.model.name
        return {
            "title": title or f"{encoder} at {self.lens.site} of {model}",
            "model": model,
            "site": str(self.lens.site),
            "encoder": encoder,
            "features": self.features,
            "dead": int((self.tally.fires == 0).sum()),
            "games": len(self.held),
            "origin": self.held.origin,
            "positions": self.tally.positions,
            "coverage": _coverage(self.scores),
            "overall": _per_mille(self.tally.overall / self.tally.positions),
            "shard": SHARD,
        }

    def table(self) -> dict[str, object]:
        """A row for each feature, in their order."""
        names = self.lens.encoder.feature_names()
        fires, highest = self.tally.fires.tolist(), self.tally.highest.tolist()
        rows = [
            {
                "feature": match.feature,
                "name": names[match.feature] if names else None,
                "label": self.labels[match.feature] if self.labels else None,
                **self._match(match),
                "density": short(fires[match.feature] / self.tally.positions),
                "max": short(highest[match.feature]),
            }
            for match in self.scores.matches()
        ]
        columns = list(rows[0]) if rows else []
        return {"columns": columns, "rows": [list(row.values()) for row in rows]}

    def _match(self, match: Match) -> dict[str, object]:
        """The best concept; all None where the feature was never on when it was chosen."""
        if not int(self.scores.counts.fires[CHOOSE, :, match.feature].max()):
            return {key: None for key in _MATCH}  # noqa: C420 (dict.fromkeys has no such type)
        numbers = (match.f1, match.precision, match.recall, match.threshold)
        values = (str(match.concept), match.concept.square, *map(short, numbers))
        return dict(zip(_MATCH, values, strict=True))

    def shard(self, features: range) -> list[dict[str, object]]:
        """All that the page of a feature shows beside its row of the table."""
        places = [
            (feature, name, example)
            for feature in features
            for name, group in self.examples.groups()
            for example in group.of(feature)
        ]
        boards: dict[tuple[int, str], list[dict[str, Any]]] = {}
        drawn = draw(self.held, [example for _, _, example in places])
        for (feature, name, _), diagram in zip(places, drawn, strict=True):
            fields = {**diagram._asdict(), "activation": short(diagram.activation)}
            boards.setdefault((feature, name), []).append(fields)
        return [self._feature(feature, boards) for feature in features]

    def _feature(
        self, feature: int, boards: Mapping[tuple[int, str], list[dict[str, Any]]]
    ) -> dict[str, object]:
        fires = self.tally.fires[feature]
        return {
            "feature": feature,
            "fires": int(fires),
            **{name: values[feature] for name, values in self._levels.items()},
            "histogram": self.examples.histogram[feature].tolist(),
            "board": _per_mille(self.tally.boards[feature] / fires.clamp(min=1)),
            "examples": {
                name: boards.get((feature, name), []) for name, _ in self.examples.groups()
            },
        }

    @cached_property
    def _levels(self) -> dict[str, list[float]]:
        """Typical activations of each feature, and the peak that thresholds are shares of."""
        levels = {
            "mean": self.tally.mean(),
            "median": self.tally.median(),
            "peak": self.scores.counts.peak,
        }
        return {name: [short(x) for x in values.tolist()] for name, values in levels.items()}


def _coverage(scores: Scores) -> dict[str, float]:
    """Coverage by the families of concepts that were counted and that occur."""
    concepts = scores.counts.concepts
    board = tuple(family for family in concepts.families if family in ("mine", "theirs"))
    wanted = [board, *((family,) for family in concepts.families if family not in board)]
    pairs = zip(concepts.concepts, scores.exists.tolist(), strict=True)
    occurring = {concept.family for concept, exists in pairs if exists}
    return {
        " and ".join(names): short(scores.coverage(*names))
        for names in wanted
        if occurring.intersection(names)
    }


def _per_mille(shares: Tensor) -> list[list[int]]:
    return (shares * 1000).round().long().tolist()


def short(x: float) -> float:
    """A number to six digits: what a page can use."""
    return float(f"{x:.6g}")
