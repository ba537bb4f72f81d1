"""Reports: a folder of static pages on which a person looks at features, one by one.

The folder opens from disk. Browsers fetch no JSON from there, so every data file is a script of
one call, `othellolens.receive(NAME, JSON)`, and the page adds the scripts that it needs.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as changed
from importlib import resources
from pathlib import Path

from torch import Tensor

from ..artifact import new_folder, provenance, read_json, write_json
from ..errors import InputError
from ..evaluation.scores import Scores
from ..lens import Lens
from ..othello.games import Games
from .contents import SHARD, Contents, short
from .examples import find_examples
from .tally import tally

MARKER = "report.json"
"""The file by which a report is known, with the KIND in it."""
KIND = "othellolens-report"
PAGE = ("index.html", "style.css", "board.js", "app.js")


def write_report(
    path: str | Path,
    lens: Lens,
    scores: Scores,
    labels: Sequence[str | None] | None,
    held: Games,
    *,
    title: str | None = None,
    summary: Sequence[Mapping[str, object]] | None = None,
    replace: bool = False,
    seed: int = 0,
    watch: Callable[[str, int, int], object] = lambda what, done, total: None,  # noqa: ARG005
) -> None:
    """Write a report: open `index.html` in the folder with a browser.

    The games are read twice: once to count, once to choose the positions to show.

    Args:
        path: the folder to write. It appears in one step, when all of it is there.
        lens: model, site and encoder.
        scores: the judge's scores of this lens.
        labels: a text for each feature (None: none for this one), or None where nothing is named.
        held: held-out games to take the positions from.
        title: heads the page; by default the encoder, the site and the model.
        summary: rows with the same keys, shown as a table: encoders side by side, say.
        replace: replace a report that is there already.
        seed: of the positions that are drawn at random.
        watch: called with what is under way, how far it is, and how far it has to go.

    Raises:
        InputError: `path` exists and must not be replaced; `scores` or `labels` are not of this
            lens; there are no positions; the rows of `summary` have not all the same keys.
    """
    folder = Path(path)
    if replace:
        _refuse_no_report(folder)
    rows = _check_summary(summary or [])
    with new_folder(folder, replace=MARKER if replace else None) as work:
        contents = _look(lens, scores, labels, held, seed, watch)
        about = {**contents.about(title), "summary": rows}
        _copy_page(work)
        _write_data(work, "report", about)
        _write_data(work, "table", contents.table())
        for number, first in enumerate(range(0, contents.features, SHARD)):
            shard = contents.shard(range(first, min(first + SHARD, contents.features)))
            _write_data(work, f"features/{number:04}", shard)
        write_json(work / MARKER, {"kind": KIND, **about, "provenance": provenance()})


def _refuse_no_report(path: Path) -> None:
    """Where there is no marker at all, `new_folder` refuses."""
    marker = path / MARKER
    if marker.is_file() and read_json(marker).get("kind") != KIND:
        raise InputError(f"{path} exists and is no report of OthelloLens: it is not replaced")


def _check_summary(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    if any(list(row) != list(rows[0]) for row in rows):
        raise InputError("the rows of summary must all have the same keys in the same order")
    return [{key: _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: object) -> object:
    """A cell of a table as JSON knows it; a number that is none becomes None."""
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, float):
        return short(value) if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) or value is None else str(value)


def _look(
    lens: Lens,
    scores: Scores,
    labels: Sequence[str | None] | None,
    held: Games,
    seed: int,
    watch: Callable[[str, int, int], object],
) -> Contents:
    features, done = len(scores.counts.peak), 0
    if labels is not None and len(labels) != features:
        raise InputError(
            f"there are {len(labels)} labels for {features} features: pass one for each"
        )

    def advance(games: int) -> None:
        nonlocal done
        done += games
        watch("report", done, 2 * len(held))

    seen = changed(lens, watch=advance)
    counted = tally(seen.read(held), features)
    examples = find_examples(seen.read(held), counted, seed=seed)
    return Contents(lens, scores, labels, held, counted, examples)


def _copy_page(folder: Path) -> None:
    page = resources.files("othellolens.report") / "page"
    for name in PAGE:
        (folder / name).write_bytes((page / name).read_bytes())


def _write_data(folder: Path, name: str, value: object) -> None:
    """One call of the page's receiving function, with plain JSON."""
    path = folder / "data" / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    path.write_text(f"othellolens.receive({json.dumps(name)}, {text});\n")
