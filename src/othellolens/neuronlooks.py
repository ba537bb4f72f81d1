"""The verb `neurons`: what the neurons of an MLP read and write, and by what rules they fire."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from jaxtyping import Float
from torch import Tensor

from .circuits.neurons import NeuronBoards, Top, neuron_boards, neurons_of, top_boards
from .circuits.rules import Condition, Rule, Search, Spectrum, screened, search_rules, spectrum
from .concepts import ConceptSet, family, standard
from .errors import InputError
from .evaluation.edits import Reading
from .gpt.model import GPT
from .gpt.runs import load_gpt
from .gpt.sites import Site
from .lens import Lens
from .othello.games import Games
from .othello.squares import SQUARES, name
from .probes.fit import ProbePlan
from .readings import Probes, fit_all
from .runs import HELD_SEED, apart, games_of
from .terminal import Progress, say, table, write_result

_SCREENED = 10
# Neurons that are searched in depth, for each that is shown: those that single facts tell best.
_BINS = 12
_BAR = 30


def neurons(
    model: Annotated[str, tyro.conf.Positional] = "mini",
    *,
    layer: int,
    neurons: tuple[int, ...] = (),
    games: str = "2000",
    probes: Path | None = None,
    condition: str | None = None,
    rules: bool = True,
    families_of: tuple[str, ...] = (),
    by: Literal["f1", "lift", "mcc"] = "f1",
    count: int = 10,
    top: int = 3,
    fit_on: str = "20000",
    plan: ProbePlan = ProbePlan(rows=300_000),  # noqa: B008
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Look at the neurons of one layer: their weights as boards, and when they fire.

    A rule is up to three facts that tell when a neuron is on. It is chosen on the even games, and
    its F1 is of the odd ones. Beside it stand F1 of a rule that always holds, and what the same
    search finds in the truth of other games at the same ply: the least that a rule must exceed.

    Args:
        model: mini, a published model's name, or the folder of a trained model.
        layer: whose MLP.
        neurons: which to look at closely, with boards; by default those with the best rules, of
            the 10 times as many that single facts tell best.
        games: a file of held-out games, or how many random ones to make.
        probes: a folder of probes, as `intervene --keep` writes it; otherwise two are fitted.
        condition: facts to split activations by, e.g. "c3 mine & !d3 empty"; see `othellolens
            concepts`.
        rules: search for rules; without them the neurons are those that read most of what probes
            read.
        families_of: families of concepts to make rules of, beside mine, theirs, empty, legal.
        by: what rules and neurons are chosen by: lift and mcc are drawn less to neurons that are
            on often.
        count: neurons to show, where none are named.
        top: boards of each neuron named.
        fit_on: a file of games to fit probes on, or how many random ones to make.
        plan: how they are fitted.
        seed: of the fitting and of the games to fit on.
        json: file for the result, with all boards ("-": standard output).
    """
    split = None if condition is None else Condition.parse(condition)
    if count < 1:
        raise InputError(f"{count} neurons to show: ask for 1 or more")
    player, held = load_gpt(model), games_of(games, HELD_SEED)
    look = _Look(player, layer, held, Progress())
    look.check(neurons)
    readings = _readings(look, probes, fit_on, plan, seed)
    boards = neuron_boards(player, layer, *readings)
    searched = look.rules(neurons, count, by, families_of) if rules else []
    shown = [rule.neuron for rule, _ in searched] or list(neurons) or _widest(boards, count)
    say(_spans(boards))
    say(table([_weights(boards, n) for n in shown]))
    if searched:
        say(f"\nrules chosen on even games and scored on odd ones, of {held.origin}")
        say(table([_rule(rule, floor) for rule, floor in searched]))
    spectra = look.spectra(shown, split) if split else {}
    if split:
        _say_spectra(split, spectra, neurons)
    tops = look.tops(neurons, top) if neurons and top else {}
    for n in neurons:
        say(f"\n{_title(layer, n)}\n{_pictures(boards, n)}" + _drawn(tops.get(n)))
    found = {rule.neuron: (rule, floor) for rule, floor in searched}
    result = [
        _saved(boards, n) | _saved_rule(found.get(n)) | _saved_looks(spectra.get(n), tops.get(n))
        for n in shown
    ]
    write_result(json, {"model": model, "layer": layer, "games": held.origin, "neurons": result})


@dataclass(frozen=True)
class _Look:
    """A layer's neurons and the games to see them on."""

    model: GPT
    layer: int
    games: Games
    progress: Progress

    def check(self, asked: Sequence[int]) -> None:
        """Refuse what the model does not have, before anything takes time."""
        width = self.model.width(Site("mlp_post", self.layer))
        for n in asked:
            if not 0 <= n < width:
                raise InputError(f"there is no neuron {n}: this layer has {width}, from 0 on")

    def reads(self, what: str, *, times: int = 1) -> Lens:
        """The neurons, with a bar for the games, which are read so many times."""
        done = 0

        def watch(games: int) -> None:
            nonlocal done
            done += games
            self.progress(f"games for {what}", done, times * len(self.games))

        return neurons_of(self.model, self.layer, watch=watch)

    def search(
        self, what: str, concepts: ConceptSet, some: Sequence[int], how: Search
    ) -> list[Rule]:
        """The rules of some neurons."""
        found = search_rules(
            self.reads(what),
            self.games,
            concepts,
            neurons=some,
            how=how,
            shuffled=what == "the control",
            watch=self._bar(what),
        )
        self.progress.close()
        return list(found)

    def _bar(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(what, done, total)

    def rules(
        self, asked: Sequence[int], count: int, by: str, families_of: Sequence[str]
    ) -> list[tuple[Rule, Rule]]:
        """Neurons' rules, best first, and what the same search finds in shuffled truth."""
        concepts, how = facts_for(families_of), Search(by=by)
        some = tuple(asked)
        if not some:
            reads = self.reads("single facts", times=2)
            some = screened(reads, self.games, concepts, most=_SCREENED * count, how=how)
        found = self.search("rules", concepts, some, how)
        found = found if asked else _best(found, count)
        floor = self.search("the control", concepts, [rule.neuron for rule in found], how)
        return list(zip(found, floor, strict=True))

    def spectra(self, some: Sequence[int], condition: Condition) -> dict[int, Spectrum]:
        """The spectrum of each neuron."""
        reads = self.reads("spectra")
        found = spectrum(reads, some, self.games, condition, bins=_BINS)
        self.progress.close()
        return dict(zip(some, found, strict=True))

    def tops(self, some: Sequence[int], count: int) -> dict[int, Top]:
        """Where each neuron fires most."""
        found = top_boards(self.reads("boards"), some, self.games, count)
        self.progress.close()
        return dict(zip(some, found, strict=True))


def _readings(
    look: _Look, probes: Path | None, fit_on: str, plan: ProbePlan, seed: int
) -> tuple[Reading, Reading]:
    sites = [Site(kind, look.layer) for kind in ("resid_mid", "resid_post")]
    if probes is not None:
        found = Probes.load(probes, look.model)
    else:
        train, _ = apart(games_of(fit_on, seed), look.games)
        found = fit_all(
            look.model,
            sites,
            train,
            mlp=False,
            flipped=False,
            plan=plan,
            seed=seed,
            watch=lambda step: look.progress("fitting probes", step.step, plan.steps),
        )
        look.progress.close()
    before, behind = found.readings(sites)
    return before, behind


def facts_for(families_of: Sequence[str]) -> ConceptSet:
    """What rules are made of: the standard facts and those of more families, each once."""
    more = [c for kind in families_of for c in family(kind).concepts]
    return ConceptSet(tuple(dict.fromkeys([*standard().concepts, *more])))


def _best(rules: Sequence[Rule], count: int) -> list[Rule]:
    return sorted(rules, key=lambda rule: -rule.chosen)[:count]


def _widest(boards: NeuronBoards, count: int) -> list[int]:
    return boards.in_share.values.argsort(descending=True)[:count].tolist()


def _title(layer: int, n: int) -> str:
    return f"L{layer}N{n}"


def _spans(boards: NeuronBoards) -> str:
    one, other, moves = boards.in_share, boards.out_share, boards.logit_share
    return (
        "shares of squared length in the span of probe directions: of w_in"
        f" ({one.rank} dimensions, chance {one.chance:.2f}),\nof w_out ({other.rank}, chance"
        f" {other.chance:.2f}), and of w_out in that of the unembedding ({moves.rank}, chance"
        f" {moves.chance:.2f});\nthe largest cosines with probe directions; and what a unit of"
        " activation adds to the logits of moves\nby way of no later layer, before the final layer"
        " norm divides by its scale"
    )


def _weights(boards: NeuronBoards, n: int) -> dict[str, object]:
    return {
        "neuron": _title(boards.layer, n),
        "w_in": float(boards.in_share.values[n]),
        "w_out": float(boards.out_share.values[n]),
        "to moves": float(boards.logit_share.values[n]),
        "reads": _largest(boards.in_colour[n], boards.in_empty[n]),
        "writes": _largest(boards.out_colour[n], boards.out_empty[n]),
        "moves": _largest_moves(boards.logits[n]),
    }


def _largest(colour: Float[Tensor, " 64"], empty: Float[Tensor, " 64"], most: int = 3) -> str:
    """The squares of the largest cosines, in words: what the neuron is for, not against."""
    found = [
        (abs(value), f"{name(s)} {words[value < 0]} {abs(value):.2f}")
        for board, words in ((colour, ("mine", "theirs")), (empty, ("empty", "taken")))
        for s, value in zip(SQUARES, board.nan_to_num().tolist(), strict=True)
    ]
    return ", ".join(text for _, text in sorted(found, reverse=True)[:most])


def _largest_moves(logits: Float[Tensor, " 64"], most: int = 3) -> str:
    values = logits.nan_to_num()
    order = values.abs().argsort(descending=True)[:most].tolist()
    return ", ".join(f"{name(s)} {float(values[s]):+.2f}" for s in order)


def _rule(rule: Rule, floor: Rule) -> dict[str, object]:
    return {
        "neuron": f"N{rule.neuron}",
        "rule": str(rule.condition or "-"),
        "on above": f"{rule.threshold:.0%} of peak",
        "on": f"{rule.on:.2%}",
        "F1": rule.f1,
        "AUROC": rule.auroc,
        "always": rule.always,
        "shuffled": floor.f1,
    }


def _say_spectra(condition: Condition, spectra: dict[int, Spectrum], asked: Sequence[int]) -> None:
    one = next(iter(spectra.values()))
    share = int(one.holds.sum()) / int(one.holds.sum() + one.others.sum())
    say(f"\nactivations where {condition} (at {share:.2%} of positions), and elsewhere")
    rows: list[dict[str, object]] = [
        {
            "neuron": f"N{n}",
            "mean where it holds": s.mean_holds,
            "mean elsewhere": s.mean_others,
            "AUROC": s.auroc,
            "variance explained": s.explained,
        }
        for n, s in spectra.items()
    ]
    say(table(rows))
    for n in asked or [max(spectra, key=lambda n: spectra[n].explained)]:
        say(f"\nN{n}\n{_bars(spectra[n])}")


def _bars(one: Spectrum) -> str:
    """A line a bin: from where on, and how many of the positions of each kind are in it."""
    lines = [f"   from  {'share of where it holds':<{_BAR + 11}}share of elsewhere"]
    shares = [counts / counts.sum() for counts in (one.holds, one.others)]
    for edge, *both in zip(one.edges[:-1].tolist(), *(s.tolist() for s in shares), strict=True):
        bars = (f"{'#' * round(_BAR * share):<{_BAR}} {share:7.2%}" for share in both)
        lines.append(f"{edge:7.2f}  " + "   ".join(bars))
    return "\n".join(lines)


def _pictures(boards: NeuronBoards, n: int) -> str:
    pairs = [
        [("w_in . mine-theirs", boards.in_colour), ("w_in . empty", boards.in_empty)],
        [("w_out . mine-theirs", boards.out_colour), ("w_out . empty", boards.out_empty)],
        [
            (
                "logits of moves, of a unit of activation, before the final layer norm divides",
                boards.logits,
            )
        ],
    ]
    return "\n".join(_beside([_grid(head, x[n]) for head, x in pair]) for pair in pairs)


def _grid(head: str, board: Float[Tensor, " 64"]) -> str:
    """Letters across, digits down; squares without a number are left empty."""
    cells = [f"{value:+.2f}" if value == value else "" for value in board.tolist()]
    lines = [f"{digit + 1} " + " ".join(f"{x:>5}" for x in cells[digit::8]) for digit in range(8)]
    return "\n".join([head, "  " + " ".join(f"{letter:>5}" for letter in "abcdefgh"), *lines])


def _drawn(top: Top | None, across: int = 3) -> str:
    """The boards on which a neuron fires most, three in a row."""
    if top is None:
        return ""
    texts = [
        f"{value:.2f} in game {game} after move {ply + 1}\n{top.boards.text(row)}"
        for row, (value, (game, ply)) in enumerate(
            zip(top.values.tolist(), top.boards.at.tolist(), strict=True)
        )
    ]
    rows = [_beside(texts[i : i + across]) for i in range(0, len(texts), across)]
    return "\n" + ("\n".join(rows) if rows else "it is never on in these games")


def _beside(texts: Sequence[str]) -> str:
    """Blocks of lines beside each other."""
    blocks = [text.split("\n") for text in texts]
    widths = [max(len(line) for line in block) for block in blocks]
    rows = zip(*blocks, strict=True)
    return "\n".join(
        "    ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _saved(boards: NeuronBoards, n: int) -> dict[str, Any]:
    names = ("in_colour", "in_empty", "out_colour", "out_empty", "logits")
    shares = {key: getattr(boards, key) for key in ("in_share", "out_share", "logit_share")}
    return {
        "neuron": n,
        **{key: {"share": float(x.values[n]), "chance": x.chance} for key, x in shares.items()},
        **{key: _plain(getattr(boards, key)[n]) for key in names},
    }


def _saved_rule(found: tuple[Rule, Rule] | None) -> dict[str, Any]:
    if found is None:
        return {}
    told = [asdict(rule) | {"condition": rule.condition and str(rule.condition)} for rule in found]
    for one in told:
        one["auroc"] = None if one["auroc"] != one["auroc"] else one["auroc"]
    return {"rule": told[0], "shuffled": told[1]}


def _saved_looks(one: Spectrum | None, top: Top | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one is not None:
        plain = {key: x.tolist() if isinstance(x, Tensor) else x for key, x in vars(one).items()}
        found["spectrum"] = plain
    if top is not None:
        places = zip(top.values.tolist(), top.boards.at.tolist(), strict=True)
        found["top"] = [{"value": v, "game": game, "ply": ply} for v, (game, ply) in places]
    return found


def _plain(values: Float[Tensor, " 64"]) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
