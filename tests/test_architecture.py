"""The shape of the code: file sizes, docstrings, the public names."""

import ast
from pathlib import Path

import pytest

import othellolens as ol

PACKAGE = Path(ol.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_is_public_is_explained(path: Path) -> None:
    tree = ast.parse(path.read_text())
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    missing = [node.name for node in public if not ast.get_docstring(node)]
    assert not missing


def test_the_public_names_exist_and_are_sorted() -> None:
    assert [name for name in ol.__all__ if not hasattr(ol, name)] == []
    assert sorted(ol.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) == ol.__all__


def test_scripts_and_pages_are_shipped() -> None:
    for name in (
        "report/page/index.html",
        "gpt/mini/config.json",
        "gpt/mini/model.safetensors",
        "py.typed",
    ):
        assert (PACKAGE / name).is_file(), name
    assert (PACKAGE / "gpt/mini/model.safetensors").stat().st_size <= 8_000_000
