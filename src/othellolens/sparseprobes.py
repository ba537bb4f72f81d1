"""The verb `sparse-probe`: how many features does it take to tell what is true of a position?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from .concepts import ConceptSet, family, standard
from .contenders import contenders_of, kind_of
from .encoder import Neurons
from .errors import InputError
from .evaluation.sparse_probing import SIZES, SparseProbes, sparse_probes
from .lens import Lens
from .othello.games import Games
from .runs import HELD_SEED, apart, games_of, load_lens
from .terminal import Progress, say, table, write_result

Found = tuple[str, SparseProbes]


def sparse_probe(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    model: str | None = None,
    site: str | None = None,
    games: str = "1000",
    families_of: tuple[str, ...] = (),
    sizes: tuple[int, ...] = SIZES,
    rows: int = 20_000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Fit logistic regressions on 1, 2, 4, ... features for every fact, and on all of them.

    The raw neurons of each site stand beside the encoders. Features are chosen and weights are
    fitted on even games; F1 is of the odd ones.

    Args:
        runs: folders of SAEs or probes (of other libraries, too), or of whole sweeps;
            user/repo:folder for an SAE on the hub.
        model: of encoders whose folder does not say it, or another.
        site: where to read, likewise.
        games: a file of held-out games, or how many random ones to make.
        families_of: names of families of concepts; by default mine, theirs, empty, legal.
        sizes: numbers of features, ascending.
        rows: positions of each half that are used, at most.
        seed: of the draw of positions.
        json: file for the result ("-": standard output).
    """
    if not runs:
        raise InputError("there is nothing to probe: name the folders of encoders or of sweeps")
    if rows < 1:
        raise InputError(f"rows must be at least 1, not {rows}")
    held, progress = games_of(games, HELD_SEED), Progress()
    chosen = standard()
    if families_of:
        chosen = ConceptSet(tuple(c for name in families_of for c in family(name).concepts))
    shown: list[dict[str, object]] = []
    told: list[dict[str, Any]] = []
    lenses = list(_lenses(runs, model, site, held))
    for number, (name, lens) in enumerate(lenses):
        found = sparse_probes(lens, held, chosen, sizes=sizes, rows=rows, seed=seed)
        for kind in chosen.families:
            shown.append(_row(name, kind, found))
        told.append({"encoder": name, "site": str(lens.site), **_result(found)})
        progress("sparse probes", number + 1, len(lenses))
    progress.close()
    say(f"mean F1 of logistic regressions on k features; {held.origin}")
    say(table(shown))
    write_result(json, told)


def _lenses(
    runs: tuple[Path, ...], model: str | None, site: str | None, held: Games
) -> Iterator[tuple[str, Lens]]:
    seen: set[str] = set()
    for one in (found for run in runs for found in contenders_of(run)):
        lens = load_lens(one.folder, model=model, site=site)
        apart(Games(held.moves[:0], str(lens.encoder.metadata.get("games", ""))), held)
        group = one.group or kind_of(lens.encoder)
        asked = "" if one.asked is None else f", L0 {one.asked:g}"
        yield f"{group}{asked}" + ("" if one.seed is None else f", seed {one.seed}"), lens
        if str(lens.site) not in seen:
            seen.add(str(lens.site))
            yield f"neurons of {lens.site}", Lens(lens.model, lens.site, Neurons())


def _row(name: str, kind: str, found: SparseProbes) -> dict[str, object]:
    means = found.mean(kind).tolist()
    columns = {f"k={size}": mean for size, mean in zip(found.sizes[:-1], means, strict=False)}
    named = [concept.family == kind for concept in found.concepts.concepts]
    needed = [
        int(k)
        for k, mine, exists in zip(found.needed(), named, found.exists, strict=True)
        if mine and exists
    ]
    middle = sorted(needed)[len(needed) // 2]
    return {"encoder": name, "family": kind, **columns, "all": means[-1], "median k": middle}


def _result(found: SparseProbes) -> dict[str, Any]:
    names = [str(concept) for concept in found.concepts.concepts]
    return {
        "sizes": found.sizes,
        "concepts": [
            {"concept": name, "f1": found.f1[:, i].tolist(), "needed": int(found.needed()[i])}
            for i, name in enumerate(names)
            if bool(found.exists[i])
        ],
    }
