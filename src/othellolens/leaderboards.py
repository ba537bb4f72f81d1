"""The verb `leaderboard`: any number of encoders, judged alike, beside floors and ceilings."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from json import dumps
from pathlib import Path
from statistics import mean
from typing import Annotated, cast

import tyro
from torch import Tensor

from .artifact import read_json, refuse_existing, write_file, write_json
from .concepts import ConceptSet, everything, family, standard
from .contenders import Contender, asked_of, contenders_of, fingerprint, kin_of, kind_of
from .encoder import Autoencoder, Encoder
from .errors import InputError
from .evaluation.judgement import groups, judge_fully
from .evaluation.relations import stability
from .evaluation.undisturbed import Undisturbed, undisturbed
from .lens import Lens
from .othello.games import Games, random_games
from .probes.fit import ProbePlan
from .report.board import envelope, page
from .report.standings import Entry, by_family, markdown, rows, said, standings
from .river import Contest, rivals
from .runs import HELD_SEED, apart, games_of, load_encoder, load_lens
from .sae.autoencoder import Recipe, SparseAutoencoder
from .sae.batch_topk import BatchTopK
from .sae.plan import SAEPlan
from .terminal import Progress, say, table, write_result

ENTRIES = "entries"
"""Folder of the board that keeps one file a judged encoder, so that none is judged twice."""


@dataclass(frozen=True)
class _Judging:
    """What all encoders have in common, and where their judgements are kept."""

    out: Path
    held: Games
    ranks: bool
    concepts: ConceptSet
    alone: list[Undisturbed] = field(default_factory=list)
    """What the last model did by itself: most encoders read what the one before them did."""

    def entry(self, blank: Entry, mark: str, lens: Callable[[], Lens]) -> Entry:
        """The judgement of an encoder: from its file, or else made now.

        Args:
            blank: the entry without a judgement.
            mark: what tells this encoder from all others, whatever their names.
            lens: makes what is to be judged.
        """
        names = [str(concept) for concept in self.concepts.concepts]
        name = re.sub(r"[^A-Za-z0-9.,=()-]+", "_", blank.name)[-100:]
        path = self.out / ENTRIES / f"{name}-{fingerprint(mark, self.ranks, names)[:12]}.json"
        if path.exists():
            saved = read_json(path)
            if saved["held"] != self.held.origin:
                raise InputError(
                    f"{self.out} was judged on {saved['held']}: take another --out, or these games"
                )
            return replace(blank, judgement=Entry.from_dict(saved["entry"]).judgement)
        made = lens()
        judged = judge_fully(
            made, self.held, concepts=self.concepts, ranks=self.ranks, last=self._last(made)
        )
        entry = replace(blank, judgement=judged)
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = {"held": self.held.origin, "about": about(made.encoder)}
        write_json(path, {**saved, "entry": entry.to_dict()})
        return entry

    def _last(self, lens: Lens) -> Undisturbed | None:
        if not isinstance(lens.encoder, Autoencoder):
            return None
        before = self.alone.pop() if self.alone else None
        self.alone.append(undisturbed(lens, self.held, before))
        return self.alone[0]


def leaderboard(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    out: Path,
    model: str | None = None,
    site: str | None = None,
    games: str = "1000",
    families_of: tuple[str, ...] = (),
    baselines: bool = True,
    ranks: bool = True,
    probe: ProbePlan = ProbePlan(),  # noqa: B008
    floor_rows: int = 500_000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Judge encoders on equal terms: one table, a page with plots, and what the table says.

    Floors (an untrained model, random directions, PCA, ICA) and ceilings (raw neurons, a linear
    probe) are always in it. What was judged is kept in OUT, so that a run that is broken off goes
    on, and further encoders can be added later.

    Args:
        runs: folders of SAEs or probes (of other libraries, too), or of whole sweeps;
            user/repo:folder for an SAE on the hub.
        out: the folder to write.
        model: of encoders whose folder does not say it, or another.
        site: where to read, likewise.
        games: a file of held-out games, or how many random ones to make.
        families_of: further families of facts to judge, in a table of their own, or "all";
            mine, theirs, empty and legal always are.
        baselines: floors and ceilings at each site.
        ranks: also AUROC, average precision and splitting, which take most of the time.
        probe: how the linear probe is fitted.
        floor_rows: rows on which the SAE of an untrained model is trained.
        seed: of the baselines.
        json: file for the entries ("-": standard output), each in the form of SAEBench.
    """
    if not runs:
        raise InputError("there is nothing to judge: name the folders of encoders or of sweeps")
    if out.exists() and not (out / ENTRIES).is_dir():
        refuse_existing(out)
    contenders = [found for run in runs for found in contenders_of(run)]
    for one in contenders:
        if not one.folder.exists():
            load_encoder(one.folder)  # from the hub, or refused before the first is judged
    held, progress = games_of(games, HELD_SEED), Progress()
    judging = _Judging(out, held, ranks, _concepts(families_of))
    lenses: list[Lens] = []
    entries: list[Entry] = []
    for number, one in enumerate(contenders):
        lens = load_lens(one.folder, model=model, site=site)
        apart(Games(held.moves[:0], str(lens.encoder.metadata.get("games", ""))), held)
        lenses.append(lens)
        mark = fingerprint(lens.encoder, lens.model, lens.site, lens.target)
        entries.append(judging.entry(_blank(one, lens), mark, lambda lens=lens: lens))
        progress("judging", number + 1, len(contenders))
    entries = _matched(entries, lenses)
    if baselines:
        for contest, width in _contests(lenses, held, seed, progress):
            effort = (
                BatchTopK(width=width, k=max(1, min(32, width // 4))),
                SAEPlan(rows=floor_rows),
                probe,
            )
            entries += _stood(judging, contest, *effort)
    progress.close()
    _write(out, entries, held.origin, json)


def _concepts(names: Sequence[str]) -> ConceptSet:
    if tuple(names) == ("all",):
        return everything()
    chosen = standard()
    for name in dict.fromkeys(names):
        if name not in chosen.families:
            chosen = chosen + family(name)
    return chosen


def about(encoder: Encoder) -> dict[str, object]:
    """What an encoder says of itself, as far as it is plain data."""
    plain = (str, int, float, bool, type(None), list, dict)
    return {key: value for key, value in encoder.metadata.items() if isinstance(value, plain)}


def _blank(one: Contender, lens: Lens) -> Entry:
    """What is known of an encoder before it is judged; what the sweep says goes first."""
    told, group = lens.encoder.metadata, one.group or kind_of(lens.encoder)
    if lens.target != lens.site:
        group += f" to {lens.target}"
    return Entry(
        one.name,
        "encoder",
        group,
        str(lens.site),
        asked_of(lens.encoder) if one.asked is None else one.asked,
        told.get("seed") if one.seed is None else one.seed,
        model=lens.model.name,
        kin=kin_of(lens.encoder, one.name),
    )


def _matched(entries: Sequence[Entry], lenses: Sequence[Lens]) -> list[Entry]:
    """The entries, each with how alike the decoder vectors of its seeds are."""
    kinds: dict[tuple[object, ...], dict[int | None, int]] = {}
    for number, (one, lens) in enumerate(zip(entries, lenses, strict=True)):
        if isinstance(lens.encoder, SparseAutoencoder):
            key = (one.model, one.site, one.group, one.asked, one.kin)
            kinds.setdefault(key, {}).setdefault(one.seed, number)
    found = list(entries)
    for members in kinds.values():
        vectors = [
            cast(Tensor, lenses[number].encoder.W_dec).detach() for number in members.values()
        ]
        pairs = [stability(one, other).matched for one, other in combinations(vectors, 2)]
        for number in members.values():
            found[number] = replace(found[number], cosine=mean(pairs) if pairs else None)
    return found


def _contests(
    lenses: Sequence[Lens], held: Games, seed: int, progress: Progress
) -> Iterator[tuple[Contest, int]]:
    """The models and sites that encoders read, each once, and the most features found there."""
    found: dict[tuple[str, str], list[Lens]] = {}
    for lens in lenses:
        found.setdefault((fingerprint(lens.model), str(lens.site)), []).append(lens)
    for alike in found.values():
        first, train = alike[0], random_games(50_000, seed=seed)
        width = max(lens.width for lens in alike)
        yield Contest(first.model, first.site, train, held, seed, progress), width


def _stood(
    judging: _Judging, contest: Contest, recipe: Recipe, plan: SAEPlan, probe: ProbePlan
) -> Iterator[Entry]:
    """Floors and ceilings at one site."""
    site, model = str(contest.site), contest.model.name
    for rival in rivals(contest, recipe, plan, probe):
        mark = fingerprint(rival.name, contest.model, site, recipe, plan, probe, contest.seed)
        name = f"{rival.name} at {site}"
        blank = Entry(name, rival.kind, rival.name, site, None, None, model=model)
        contest.watch(f"judging: {rival.name}", 0, 1)
        yield judging.entry(blank, mark, rival.lens)


def _write(out: Path, entries: Sequence[Entry], held: str, json: Path | None) -> None:
    found = standings(entries)
    say(table(rows(found)))
    for line in said(found):
        say(line)
    if any(len(entry.judgement.families) > len(groups(standard())) for entry in entries):
        say(table(by_family(found)))
    envelopes = [envelope(entry, held) for entry in entries]
    write_file(out / "leaderboard.json", lambda work: work.write_text(dumps(envelopes, indent=1)))
    write_file(out / "leaderboard.md", lambda work: work.write_text(markdown(found)))
    write_file(out / "index.html", lambda work: work.write_text(page(found, held)))
    say(f"board: {out / 'index.html'}")
    write_result(json, envelopes)
