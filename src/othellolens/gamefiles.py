"""The import of game files: read them, say what is in them, write them in another form."""

from pathlib import Path

from .othello.records import FormName, Illegal, check_writable, save_records
from .othello.records.importing import (
    import_files,
    passed_over,
    remarks,
    results,
    rows,
    together,
)
from .terminal import Progress, say, table, write_result


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
