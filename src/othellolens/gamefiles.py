"""The verb `games`: make random games, read those of others, ask what a set holds."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from .errors import InputError
from .othello.games import Games, random_games
from .othello.records import FormName, Illegal, check_writable, load_games, save_games, save_records
from .othello.records.importing import (
    import_files,
    passed_over,
    remarks,
    results,
    rows,
    together,
)
from .othello.shards import write_shards
from .othello.statistics import census, overlap
from .terminal import Progress, say, table, write_result

Paths = tuple[Path, ...]


def games(
    count: int | None = None,
    out: Path | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    resume: bool = False,
    imported: Annotated[Paths, tyro.conf.arg(name="import")] = (),
    form: FormName | None = None,
    illegal: Illegal = "fail",
    counted: Annotated[Paths, tyro.conf.arg(name="census")] = (),
    json: Path | None = None,
) -> None:
    """Make random games; or read game files of any form, check them and write them in another.

    Args:
        count: how many random games to make.
        out: the file to write; its name says the form: *.npy (int8 [game, ply]), *.txt (one game a
            line), *.pgn, *.wtb, *.pickle, *.safetensors, board_seqs_int*.npy or
            board_seqs_string*.npy. For random games also a folder (a name without a dot) of shards.
        seed: which random games.
        first: number of the first random game of the seed.
        resume: finish the folder of shards that was begun.
        imported: game files, or folders of them, to read instead; known by their content.
        form: what the files to read are, where that can be read in two ways.
        illegal: whether an imported game that breaks the rules is an error or left out.
        counted: files or folders of shards of which to count repeats, passes, short games and, of
            each after the first, the games that also stand in the first.
        json: file for what the import or the census found ("-": standard output).
    """
    asked = {"--import": bool(imported), "--census": bool(counted), "--count": count is not None}
    several = [option for option, given in asked.items() if given]
    if len(several) > 1:
        raise InputError(f"{' and '.join(several)} are different things to do: say one of them")
    if imported:
        import_games(imported, out, form=form, illegal=illegal, json=json)
    elif counted:
        count_games(counted, json=json)
    elif count is None or out is None:
        raise InputError(
            "say how many games by --count and where to by --out, or --import or --census files"
        )
    elif json is not None:
        raise InputError("--json is for what an import or a census found: leave it out")
    else:
        make_games(count, out, seed=seed, first=first, resume=resume)


def make_games(count: int, out: Path, *, seed: int, first: int = 0, resume: bool = False) -> None:
    """Write random games to a file or, where `out` has no suffix, to a folder of shards."""
    if count < 1:
        raise InputError(f"count is {count}: make at least one game")
    progress, chunk = Progress(), 100_000
    if not out.suffix:
        write_shards(
            out, count, seed=seed, first=first, resume=resume, watch=partial(progress, "games")
        )
        progress.close()
        return
    if resume:
        raise InputError(f"{out} is one file: only a folder of shards can be resumed")
    check_writable(out)
    parts: list[Games] = []
    for start in range(0, count, chunk):
        parts.append(random_games(min(chunk, count - start), seed=seed, first=first + start))
        progress("games", start + len(parts[-1]), count)
    progress.close()
    save_games(Games.cat(parts), out)


def count_games(sources: Paths, *, json: Path | None = None) -> None:
    """Print what each set of games holds, and how far it stands in the first of them."""
    whole = load_games(sources[0])
    found: list[dict[str, object]] = [{"set": str(sources[0]), **asdict(census(whole))}]
    if len(sources) > 1:
        found[0] |= {"in the first": None, "turned": None}
    for source in sources[1:]:
        both = overlap(whole, load_games(source))
        shared = {"in the first": int(both.exact.sum()), "turned": int(both.turned.sum())}
        found.append({"set": str(source), **asdict(both.other), **shared})
    say(table(found))
    write_result(json, found)


def import_games(
    sources: tuple[Path, ...],
    out: Path | None = None,
    *,
    form: FormName | None = None,
    illegal: Illegal = "fail",
    json: Path | None = None,
) -> None:
    """Read game files, print what is in them, and write them together if asked.

    Args:
        sources: files, or folders of them.
        out: the file to write, in the form that its name asks for.
        form: what the files are, where that can be read in two ways.
        illegal: whether a game that breaks the rules is an error or left out.
        json: file for what was found ("-": standard output).

    Raises:
        InputError: a file cannot be read, or `out` cannot be written.
    """
    if out is not None:
        check_writable(out)
    progress = Progress()
    found = import_files(sources, form=form, illegal=illegal, watch=progress)
    progress.close()
    if out is not None:
        save_records(together(found), out)
    say("\n".join([table(rows(found)), *remarks(found, passed_over(sources))]))
    write_result(json, results(found))
