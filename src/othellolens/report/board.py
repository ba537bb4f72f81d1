"""The leaderboard as a page that opens from disk, and its entries in the form of SAEBench."""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from ..evaluation.judgement import BOARD, Judgement
from .pareto import Point, pareto_svg
from .standings import Entry, Standing, boards, by_family, coverage, rows, said

_PLOTS: dict[str, Callable[[Judgement], float | None]] = {
    "coverage of mine and theirs, F1": coverage,
    "boards rebuilt, F1": boards,
    "fraction of variance unexplained": lambda judged: judged.fvu,
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem;
       color: #222; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #e4e4e4;
         white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; }
td:first-child, th:first-child { text-align: left; }
tr.floor td { color: #8a4b00; } tr.ceiling td { color: #00558a; }
svg { width: 100%; max-width: 900px; height: auto; display: block; margin: 1rem 0; }
"""
_ABOUT = """
<p>Each score is of features and thresholds chosen on the even-numbered games and measured on the
odd ones. <b>Coverage</b>: for each of the 128 facts "this square is mine / theirs" the F1 of the
best single feature, averaged over facts that occur. <b>Boards F1</b>: boards rebuilt from features
of precision at least 0.95 alone. ±: standard deviation over seeds; [low, high]: 95 % bootstrap
interval over games. <b>Lift</b>: F1 above that of a detector that is always on, as a share of what
is left. <b>By ply</b>: coverage when every game meets the boards of another one at the same ply:
what the move number alone tells. <b>AUROC&gt;0.9</b>: facts of these 128 with a feature above that.
<b>Redundancy</b>: features that detect a fact with F1 of at least 0.8, over facts with any.
<b>Absorbed</b>: of the positions that a fact's best feature misses, the share at which a feature
that implies the fact is on instead. <b>Twins</b>: share of features that are on at the same
positions as another. <b>Same concepts</b>: overlap between seeds of the facts detected with F1 of
at least 0.8. <b>Same vectors</b>: mean |cosine| of the decoder vectors of two seeds, each paired
with one of the other's, the most alike first.
By family: <b>chance</b> is the coverage when positions meet the facts of any others,
<b>polysemy</b> facts that a feature detects, over features with any, <b>split</b> the F1 that a
union of up to six features adds.
<span style="color:#8a4b00">Floors</span> and <span style="color:#00558a">ceilings</span> are
coloured.</p>
"""


def page(found: Sequence[Standing], held: str) -> str:
    """One HTML page: what the table says, plots over L0, the table."""
    sentences = "".join(f"<li>{escape(line)}</li>" for line in said(found))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>OthelloLens leaderboard</title>'
        f"<style>{_STYLE}</style><h1>Leaderboard</h1><p>Held-out games: {escape(held)}.</p>"
        f"{_ABOUT}<ul>{sentences}</ul>{''.join(_plots(found))}"
        f"{_tables(found)}</html>\n"
    )


def _plots(found: Sequence[Standing]) -> list[str]:
    """One plot for each score and site: encoders as lines, floors and ceilings as points."""
    return [
        pareto_svg(
            _lines([s for s in found if s.first.site == site], pick),
            f"{title} ({site})",
            "L0, active features a position",
            title,
            even="F1" in title,
        )
        for site in dict.fromkeys(standing.first.site for standing in found)
        for title, pick in _PLOTS.items()
    ]


def _lines(
    found: Sequence[Standing], pick: Callable[[Judgement], float | None]
) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for standing in found:
        x, y = standing.mean(lambda judged: judged.l0), standing.mean(pick)
        if x is not None and y is not None:
            label = f"{standing.label}: L0 {x:.1f}, {y:.4f}"
            lines.setdefault(standing.first.group, []).append(Point(x, y, label))
    return lines


def _table(table: Sequence[dict[str, object]], kinds: Sequence[str]) -> str:
    """Rows as a table, each of the kind that colours it."""
    if not table:
        return ""
    head = "".join(f"<th>{escape(key)}</th>" for key in table[0])
    lines = [
        f'<tr class="{kind}">'
        + "".join(f"<td>{escape(_cell(value))}</td>" for value in row.values())
        + "</tr>"
        for kind, row in zip(kinds, table, strict=True)
    ]
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _tables(found: Sequence[Standing]) -> str:
    """The board, and every family of facts."""
    kind = {standing.label: standing.first.kind for standing in found}
    families = by_family(found)
    return (
        _table(rows(found), [standing.first.kind for standing in found])
        + "<h2>By family of facts</h2>"
        + _table(families, [kind[str(row["encoder"])] for row in families])
    )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def envelope(entry: Entry, held: str) -> dict[str, Any]:
    """An entry in SAEBench's form of a result (`sae_bench/evals/base_eval_output.py`).

    Categories: one for each family of concepts, and SAEBench's own names where they fit.
    """
    judged = entry.judgement
    families = {
        f"othello_{name.replace(' ', '_')}": {
            key: value[0] if isinstance(value, tuple) else value
            for key, value in vars(scores).items()
            if value is not None and key != "by_concept"
        }
        for name, scores in judged.families.items()
    }
    spliced = {
        "model_behavior_preservation": {"kl_div_with_sae": judged.kl},
        "model_performance_preservation": {
            "ce_loss_score": judged.recovered,
            "illegal_with_sae": judged.illegal,
        },
        "reconstruction_quality": {"fvu": judged.fvu},
        "sparsity": {"l0": judged.l0},
        "misc_metrics": {"frac_alive": 1 - judged.dead},
    }
    found = {name: {k: v for k, v in x.items() if v is not None} for name, x in spliced.items()}
    return {
        "eval_type_id": "othello_board",
        "eval_config": {"held": held, "board": BOARD},
        "eval_id": sha256(f"{entry.name} {entry.model} {held}".encode()).hexdigest()[:32],
        "datetime_epoch_millis": int(time.time() * 1000),
        "eval_result_metrics": {**families, **{k: v for k, v in found.items() if v}},
        "eval_result_details": [],
        "sae_bench_commit_hash": "",
        "sae_lens_id": entry.name,
        "sae_lens_release_id": None,
        "sae_lens_version": "",
        "sae_cfg_dict": {
            "group": entry.group,
            "kind": entry.kind,
            "model": entry.model,
            "hook": entry.site,
            "l0_asked": entry.asked,
            "seed": entry.seed,
            "features": judged.features,
        },
        "eval_result_unstructured": entry.to_dict(),
    }
