"""Documentation that is made from the code: `python scripts/docs.py` writes it, `--check` compares.

docs/cli.md is the help of every verb, docs/concepts.md the families of concepts. Besides, the
version must stand alike in pyproject.toml, CHANGELOG.md and CITATION.cff, and every `ol.name` in
the documents must exist.
"""

import contextlib
import io
import os
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLI = ROOT / "docs" / "cli.md"
CONCEPTS = ROOT / "docs" / "concepts.md"


def cli_page() -> str:
    """The help of every verb, as one page."""
    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
    from othellolens.cli import VERBS, main

    parts = ["# The command line\n\nMade by `python scripts/docs.py` from the verbs themselves.\n"]
    for verb in ["", *VERBS]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([verb, "--help"] if verb else ["--help"])
        text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
        parts.append(f"## othellolens {verb}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def concepts_page() -> str:
    """What each family of concepts means."""
    from othellolens.concepts import everything, families

    parts = [
        "# What can be true of a position\n\nMade by `python scripts/docs.py` from the families"
        " themselves. The side to move (mine) is the one that moves next by the rules, passes"
        " honoured; s is a square, M, T and E are the squares with a disc of mine, with one of"
        " theirs, and without a disc. A fact that is never true or always so is left out, so that"
        " every score can be reached. How often each is true: `othellolens concepts`; those of one"
        " family: `othellolens concepts --families-of line`.\n\nA family of your own is one"
        " function:\n\n```python\nfrom othellolens.concepts import Concept, fact\n\n\n"
        '@fact("both a1 and h8", [Concept("both a1 and h8")], "a1 and h8 hold a disc")\n'
        "def both(boards):\n    filled = ~boards.squares()[:, 2]\n"
        "    return filled[:, [0, 63]].all(1, keepdim=True)\n```\n",
        "| family | facts | true where | left out | for example |\n|---|---|---|---|---|",
    ]
    for kind in families():
        formula = kind.formula.replace("|", "\\|") + (" (last move)" if kind.history else "")
        example = str(kind.concepts[len(kind.concepts) // 3])
        left = kind.undefined or "-"
        parts.append(f"| {kind.name} | {len(kind.concepts)} | {formula} | {left} | {example} |")
    return "\n".join([*parts, f"\nTogether {len(everything()):,} facts.\n"])


def faults() -> list[str]:
    """What is stale, one line each."""
    import othellolens as ol

    found: list[str] = []
    if not CLI.exists() or CLI.read_text() != cli_page():
        found.append("docs/cli.md is stale: run python scripts/docs.py")
    if not CONCEPTS.exists() or CONCEPTS.read_text() != concepts_page():
        found.append("docs/concepts.md is stale: run python scripts/docs.py")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, mark in (("CHANGELOG.md", f"## {version} "), ("CITATION.cff", f"version: {version}")):
        if mark not in (ROOT / name).read_text():
            found.append(f"{name} does not name version {version}")
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        names = set(re.findall(r"\bol\.(\w+)", page.read_text()))
        missing = sorted(name for name in names if not hasattr(ol, name))
        found += [f"{page.name} names ol.{name}, which does not exist" for name in missing]
    return found


def main() -> int:
    """Write, or with --check say what is stale and return 1."""
    if "--check" not in sys.argv:
        CLI.write_text(cli_page())
        CONCEPTS.write_text(concepts_page())
        return 0
    stale = faults()
    for fault in stale:
        print(fault)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
