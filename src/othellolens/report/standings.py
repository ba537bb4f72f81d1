"""Standings: any number of judged encoders in one table, and what it says in words."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import isnan
from statistics import mean, stdev
from typing import Any

import torch

from ..evaluation.judgement import BLANK, BOARD, FamilyScores, Judgement
from ..evaluation.relations import agreement


@dataclass(frozen=True)
class Entry:
    """One encoder that was judged."""

    name: str
    kind: str
    """"encoder", or what stands beside it: "floor" or "ceiling"."""
    group: str
    """What it is: entries of one group differ by their seed alone."""
    site: str
    asked: int | float | None
    """The mean number of active features that was asked for, if one was."""
    seed: int | None
    judgement: Judgement = BLANK
    model: str = ""
    """The name of the model that it reads."""
    kin: str = ""
    """The same for entries of one group that differ by their seed alone."""
    cosine: float | None = None
    """Mean matched |cosine| of its decoder vectors with those of the other seeds."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as they are saved."""
        return asdict(self)

    @staticmethod
    def from_dict(saved: dict[str, Any]) -> "Entry":
        """What `to_dict` gave, also after it was JSON."""
        values: dict[str, Any] = {**saved, "judgement": Judgement.from_dict(saved["judgement"])}
        return Entry(**values)


@dataclass(frozen=True)
class Standing:
    """The entries of one group: means over seeds, each with its spread over seeds."""

    entries: tuple[Entry, ...]

    @property
    def first(self) -> Entry:
        """One of them: what they share is the same in all."""
        return self.entries[0]

    @property
    def label(self) -> str:
        """Group and number of features asked for."""
        asked = self.first.asked
        return self.first.group if asked is None else f"{self.first.group}, L0 {asked:g}"

    def mean(self, pick: Callable[[Judgement], float | None]) -> float | None:
        """Mean over seeds of one number; None where there is none."""
        values = [pick(entry.judgement) for entry in self.entries]
        kept = [value for value in values if value is not None]
        return float(mean(kept)) if kept else None

    def spread(self, pick: Callable[[Judgement], float | None]) -> float | None:
        """Standard deviation over seeds; None of a single one."""
        values = [pick(entry.judgement) for entry in self.entries]
        kept = [value for value in values if value is not None]
        return float(stdev(kept)) if len(kept) > 1 else None

    def ends(self, name: str) -> tuple[float, float]:
        """Mean ends of the bootstrap intervals of a score of the board."""
        found = [getattr(entry.judgement.families[BOARD], name) for entry in self.entries]
        return mean(x.low for x in found), mean(x.high for x in found)


def coverage(judged: Judgement) -> float:
    """Of the board: the 128 facts mine / theirs."""
    return judged.families[BOARD].coverage.value


def boards(judged: Judgement) -> float:
    """F1 of rebuilt boards."""
    return judged.families[BOARD].rebuilt.value


def family_coverage(name: str) -> Callable[[Judgement], float | None]:
    """Of another family, if it was judged."""
    return lambda judged: judged.families[name].coverage.value if name in judged.families else None


def standings(entries: Iterable[Entry]) -> list[Standing]:
    """Entries that differ by their seed alone together; the best coverage of each site first.

    Where there are several models, a site says of which.
    """
    grouped: dict[tuple[object, ...], list[Entry]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for entry in _placed(list(entries)):
        key = (entry.site, entry.group, entry.asked, entry.kin)
        again = seen[(*key, entry.seed)]  # two of one seed are no two seeds
        seen[(*key, entry.seed)] += 1
        grouped.setdefault((*key, again), []).append(entry)
    found = _told_apart([Standing(tuple(alike)) for alike in grouped.values()])
    return sorted(found, key=lambda s: (s.first.site, -(s.mean(coverage) or 0.0)))


def _placed(entries: Sequence[Entry]) -> Sequence[Entry]:
    if len({entry.model for entry in entries}) < 2:
        return entries
    return [replace(entry, site=f"{entry.site} of {entry.model}") for entry in entries]


def _told_apart(found: Sequence[Standing]) -> list[Standing]:
    """Standings of one label get the name of one of their entries besides."""
    often = Counter((standing.first.site, standing.label) for standing in found)

    def named(standing: Standing) -> Standing:
        if often[standing.first.site, standing.label] == 1:
            return standing
        group = f"{standing.first.group} ({standing.first.name})"
        return Standing(tuple(replace(entry, group=group) for entry in standing.entries))

    return [named(standing) for standing in found]


def rows(found: Sequence[Standing]) -> list[dict[str, object]]:
    """The table: a row for each group, scores with the interval and the spread over seeds."""
    several = len({standing.first.site for standing in found}) > 1
    return [_row(standing, several) for standing in found]


def _row(standing: Standing, several: bool) -> dict[str, object]:
    return {
        "encoder": standing.label,
        **({"site": standing.first.site} if several else {}),
        "kind": standing.first.kind,
        "seeds": len(standing.entries),
        "features": standing.first.judgement.features,
        "L0": standing.mean(lambda j: j.l0),
        "FVU": standing.mean(lambda j: j.fvu),
        "KL": standing.mean(lambda j: j.kl),
        "coverage": _with_ends(standing, coverage, "coverage"),
        "boards F1": _with_ends(standing, boards, "rebuilt"),
        "lift": standing.mean(lambda j: j.families[BOARD].lift.value),
        "MCC": standing.mean(lambda j: j.families[BOARD].mcc.value),
        "by ply": standing.mean(lambda j: j.families[BOARD].by_ply),
        "AUROC>0.9": standing.mean(lambda j: j.families[BOARD].auroc_above),
        "empty": standing.mean(family_coverage("empty")),
        "legal": standing.mean(family_coverage("legal")),
        "redundancy": standing.mean(lambda j: j.families[BOARD].redundancy),
        "absorbed": standing.mean(lambda j: j.families[BOARD].absorbed),
        "twins": standing.mean(lambda j: j.duplicates),
        "same concepts": _same(standing),
        "same vectors": standing.first.cosine,
        "dead": standing.mean(lambda j: j.dead),
    }


def by_family(found: Sequence[Standing]) -> list[dict[str, object]]:
    """A row for each family and group, family by family: means over seeds."""
    several = len({standing.first.site for standing in found}) > 1
    names = dict.fromkeys(name for standing in found for name in standing.first.judgement.families)
    return [
        _family_row(standing, name, several)
        for name in names
        for standing in found
        if all(name in entry.judgement.families for entry in standing.entries)
    ]


def _family_row(standing: Standing, name: str, several: bool) -> dict[str, object]:
    def mean_of(pick: Callable[[FamilyScores], float | None]) -> float | None:
        return standing.mean(lambda judged: pick(judged.families[name]))

    return {
        "family": name,
        "encoder": standing.label,
        **({"site": standing.first.site} if several else {}),
        "facts": standing.first.judgement.families[name].concepts,
        "coverage": mean_of(lambda f: f.coverage.value),
        "lift": mean_of(lambda f: f.lift.value),
        "MCC": mean_of(lambda f: f.mcc.value),
        "by ply": mean_of(lambda f: f.by_ply),
        "chance": mean_of(lambda f: f.chance),
        "rebuilt F1": mean_of(lambda f: f.rebuilt.value),
        "AUROC>0.9": mean_of(lambda f: f.auroc_above),
        "AP": mean_of(lambda f: f.average_precision),
        "redundancy": mean_of(lambda f: f.redundancy),
        "polysemy": mean_of(lambda f: f.polysemy),
        "split": mean_of(lambda f: f.split),
        "absorbed": mean_of(lambda f: f.absorbed),
    }


def _same(standing: Standing) -> float | None:
    """Over pairs of seeds that detect any, the mean overlap (Jaccard) of the board facts."""
    found = [torch.tensor(e.judgement.families[BOARD].by_concept) for e in standing.entries]
    shared = [agreement(one, other)[0] for one, other in combinations(found, 2)]
    shared = [share for share in shared if not isnan(share)]
    return float(mean(shared)) if shared else None


def _with_ends(standing: Standing, pick: Callable[[Judgement], float], name: str) -> str:
    low, high = standing.ends(name)
    spread = standing.spread(pick)
    seeds = "" if spread is None else f" ±{spread:.3f}"
    return f"{standing.mean(pick):.3f}{seeds} [{low:.3f}, {high:.3f}]"


def said(found: Sequence[Standing]) -> list[str]:
    """What the table says: who wins at each number of features, and against plain neurons."""
    lines: list[str] = []
    for site in dict.fromkeys(standing.first.site for standing in found):
        here = [standing for standing in found if standing.first.site == site]
        encoders = [standing for standing in here if standing.first.kind == "encoder"]
        for asked in sorted({s.first.asked for s in encoders if s.first.asked is not None}):
            alike = [standing for standing in encoders if standing.first.asked == asked]
            lines += [
                f"{site}, L0 {asked:g}: {_winner(alike, what, pick)}"
                for what, pick in (("coverage", coverage), ("boards F1", boards))
            ]
        lines += _against_neurons(site, here, encoders)
    return lines


def _winner(alike: Sequence[Standing], what: str, pick: Callable[[Judgement], float]) -> str:
    """The best by one score, and whether the next lies within the spread over seeds."""
    ranked = sorted(alike, key=lambda standing: -(standing.mean(pick) or 0.0))
    best = ranked[0]
    text = f"{best.first.group} has the best {what}, {best.mean(pick):.3f}"
    if len(ranked) == 1:
        return text
    gap = (best.mean(pick) or 0.0) - (ranked[1].mean(pick) or 0.0)
    text += f"; next {ranked[1].first.group}, {ranked[1].mean(pick):.3f}"
    spreads = [standing.spread(pick) for standing in ranked[:2]]
    noise = sum(x * x for x in spreads if x is not None) ** 0.5
    if None in spreads:
        return text + " (one seed: the spread is unknown)"
    return text + (" (beyond" if gap > 2 * noise else " (within") + " two deviations over seeds)"


def _against_neurons(
    site: str, here: Sequence[Standing], encoders: Sequence[Standing]
) -> list[str]:
    lines: list[str] = []
    for rival in [s for s in here if "neurons" in s.first.group and s.first.kind == "ceiling"]:
        for what, pick in (("coverage", coverage), ("boards F1", boards)):
            bar = rival.mean(pick) or 0.0
            above = sum(1 for standing in encoders if (standing.mean(pick) or 0.0) > bar)
            lines.append(
                f"{site}: {above} of {len(encoders)} kinds of encoder have a better {what} than"
                f" {rival.first.group} ({bar:.3f})"
            )
    return lines


def markdown(found: Sequence[Standing]) -> str:
    """Table, sentences, and the table by family as Markdown."""
    sentences = [f"* {line}" for line in said(found)]
    return "\n".join([*_lines(rows(found)), "", *sentences, "", *_lines(by_family(found)), ""])


def _lines(table: Sequence[dict[str, object]]) -> list[str]:
    head = list(table[0]) if table else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_cell(row[key]) for key in head) + " |" for row in table]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
