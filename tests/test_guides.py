"""Every guide in docs/guides runs from top to bottom and prints what it says that it prints.

The Python blocks of a page share one namespace. A text block right after one is what it prints, to
the word; numbers may differ in the last digits, since CPUs differ in how they round.
"""

import contextlib
import importlib.util
import io
import math
import re
from pathlib import Path

import pytest

GUIDES = sorted((Path(__file__).parent.parent / "docs" / "guides").glob("*.md"))
RELATIVE, ABSOLUTE = 0.05, 0.02
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?!\w)")
# Not the digits of names: f5, L4, resid_post.3.


def blocks(page: str) -> list[tuple[int, str, str | None]]:
    """The Python blocks in order: the line of the page, the code, and what it should print."""
    found: list[tuple[int, str, str | None]] = []
    for block in _BLOCK.finditer(page):
        kind, body = block.groups()
        if kind == "python":
            found.append((page[: block.start(2)].count("\n"), body, None))
        elif kind == "text" and found and found[-1][2] is None:
            found[-1] = (*found[-1][:2], body)
    return found


def differences(said: str, printed: str) -> list[str]:
    """Lines of which the words or the numbers are not alike; none: all is as the page says."""
    one, other = said.rstrip().splitlines(), printed.rstrip().splitlines()
    if len(one) != len(other):
        return [f"{len(one)} lines are in the page, {len(other)} were printed:", *other]
    pairs = zip(one, other, strict=True)
    return [f"{a!r} is in the page, printed: {b!r}" for a, b in pairs if not _alike(a, b)]


def _alike(one: str, other: str) -> bool:
    words = [_NUMBER.sub("#", line).split() for line in (one, other)]
    numbers = [[float(x) for x in _NUMBER.findall(line)] for line in (one, other)]
    return words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        for a, b in zip(*numbers, strict=True)
    )


def test_pages_are_compared_word_by_word_and_numbers_nearly() -> None:
    page = "```python\na = 1\n```\n\n```python\nprint(a)\n```\nIt prints:\n```text\n1\n```\n"
    assert blocks(page) == [(1, "a = 1\n", None), (5, "print(a)\n", "1\n")]
    assert not differences("f5 0.50  [0.1, 2.0]\n", "f5   0.51 [0.1, 2.05]\n")
    assert not differences("null -0.00\n", "null 0.01\n")
    for printed in ("f5 0.55 [0.1, 2.0]", "f6 0.50 [0.1, 2.0]", "f5 0.50 [0.1, 2.0]\nmore", ""):
        assert differences("f5 0.50 [0.1, 2.0]", printed)
    assert differences("L4 MLP 1", "L3 MLP 1") and differences("z.0.3 1", "z.0.4 1")


def test_there_is_a_guide() -> None:
    assert GUIDES


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a page may write files
    shared = {"__name__": "guide"}
    for line, code, said in blocks(page.read_text(encoding="utf-8")):
        if "import viz" in code and importlib.util.find_spec("plotly") is None:
            continue
        out = io.StringIO()
        placed = "\n" * line + code  # so that a traceback names the line of the page
        with contextlib.redirect_stdout(out):
            exec(compile(placed, str(page), "exec"), shared)
        if said is not None:
            wrong = differences(said, out.getvalue())
            assert not wrong, "\n".join([f"{page.name}, block at line {line}:", *wrong])
