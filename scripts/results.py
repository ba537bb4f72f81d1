"""Run the commands of docs/results.md anew, and put what they print in the place of what they did.

    python scripts/results.py                              # lists the commands, runs nothing
    python scripts/results.py --only leaderboard causal    # runs those whose command has a word
    python scripts/results.py --only causal --write        # and writes it into the page

A block of the page is one command or several, and below them what they print. Commands run in the
root of the repository, one after the other; what each printed is kept in runs/results/, with its
seconds. Blocks without output are never run. What the prose says of a table is for a reader to put
right: the lines that changed are shown.
"""

import argparse
import difflib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
KEPT = ROOT / "runs" / "results"
FENCE = "```"
COMMANDS = ("othellolens ", "python ", "make ", "for ")


class Block(NamedTuple):
    """A fenced block that begins with commands."""

    commands: tuple[str, ...]
    output: str


def blocks(page: str) -> list[Block]:
    """The blocks of a page in their order; lines of output never begin as a command does."""
    found: list[Block] = []
    inside, lines = False, list[str]()
    for line in page.splitlines():
        if not line.startswith(FENCE):
            lines += [line] if inside else []
            continue
        inside = not inside
        if not inside:
            commands = [x for x in lines if x.startswith(COMMANDS)]
            if commands and lines[: len(commands)] == commands:
                found.append(Block(tuple(commands), "\n".join(lines[len(commands) :])))
        lines = []
    return found


def run(block: Block) -> str:
    """What its commands print.

    Raises:
        CalledProcessError: one of them failed.
    """
    bins = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(  # noqa: S602
        "set -e -o pipefail\n" + "\n".join(block.commands),
        shell=True,
        executable="/bin/bash",
        cwd=ROOT,
        env={**os.environ, "PATH": bins, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def put(page: str, block: Block, output: str) -> str:
    """The page with another output in a block."""
    commands = "\n".join(block.commands)
    old = f"{FENCE}\n{commands}\n{block.output}\n{FENCE}"
    assert page.count(old) == 1, f"not once in the page: {commands}"
    return page.replace(old, f"{FENCE}\n{commands}\n{output}\n{FENCE}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="WORD", help="commands that have one of these")
    parser.add_argument("--write", action="store_true", help="change the page")
    asked = parser.parse_args()
    failed = 0
    for number, block in enumerate(blocks(PAGE.read_text())):
        text = "\n".join(block.commands)
        if not asked.only:
            print(text if block.output else f"(never run) {text}")
        if not asked.only or not block.output or not any(word in text for word in asked.only):
            continue
        print(f"$ {text}", flush=True)
        started = time.monotonic()
        try:
            output = run(block)
        except subprocess.CalledProcessError as error:
            print(f"failed with status {error.returncode}: the page keeps what it says\n")
            failed += 1
            continue
        seconds = time.monotonic() - started
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{number:02}.txt").write_text(f"{text}\n{output}\n\n{seconds:.0f} s\n")
        changed = difflib.unified_diff(
            block.output.splitlines(), output.splitlines(), "the page", "now", lineterm="", n=0
        )
        print("\n".join(changed) or "nothing changed", f"\n{seconds:.0f} s\n", flush=True)
        if asked.write:
            PAGE.write_text(put(PAGE.read_text(), block, output))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
