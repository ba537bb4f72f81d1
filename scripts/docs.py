"""Documentation that is made from the code: `python scripts/docs.py` writes it, `--check` compares.

docs/cli.md is the help of every verb. Besides, the version must stand alike in pyproject.toml,
CHANGELOG.md and CITATION.cff, and every `ol.name` in the documents must exist.
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


def faults() -> list[str]:
    """What is stale, one line each."""
    import othellolens as ol

    found: list[str] = []
    if not CLI.exists() or CLI.read_text() != cli_page():
        found.append("docs/cli.md is stale: run python scripts/docs.py")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, mark in (("CHANGELOG.md", f"## {version} "), ("CITATION.cff", f"version: {version}")):
        if mark not in (ROOT / name).read_text():
            found.append(f"{name} does not name version {version}")
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        names = set(re.findall(r"\bol\.(\w+)", page.read_text()))
        missing = sorted(name for name in names if not hasattr(ol, name))
        found += [f"{page.name} names ol.{name}, which does not exist" for name in missing]
    return found


def main() -> int:
    """Write, or with --check say what is stale and return 1."""
    if "--check" not in sys.argv:
        CLI.write_text(cli_page())
        return 0
    stale = faults()
    for fault in stale:
        print(fault)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
