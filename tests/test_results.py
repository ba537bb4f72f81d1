"""The commands of docs/results.md are of this version, and what they print finds its place."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGE = """
Words.

```
othellolens patch --count 2 | head -3
othellolens doctor
a table
of two lines
```

```
not a command
```

```
python benchmarks/recipe.py
```
"""


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", ROOT / "scripts" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_blocks_are_commands_and_what_they_print(results: ModuleType) -> None:
    assert results.blocks(PAGE) == [
        (("othellolens patch --count 2 | head -3", "othellolens doctor"), "a table\nof two lines"),
        (("python benchmarks/recipe.py",), ""),
    ]


def test_output_comes_into_its_place_and_nothing_else_changes(results: ModuleType) -> None:
    first = results.blocks(PAGE)[0]
    assert results.put(PAGE, first, "one line") == PAGE.replace("a table\nof two lines", "one line")


def test_commands_run_in_order_and_a_failure_is_told(results: ModuleType) -> None:
    block = results.Block(("echo one  ", "for i in 2 3; do echo $i; done"), "")
    assert results.run(block) == "one\n2\n3"
    with pytest.raises(results.subprocess.CalledProcessError):
        results.run(results.Block(("false | cat", "echo never"), ""))


def test_every_command_of_the_page_is_of_this_version(results: ModuleType) -> None:
    cli = (ROOT / "docs" / "cli.md").read_text()
    helps = dict(re.findall(r"^## othellolens (\S+)\n\n```text\n(.*?)\n```$", cli, re.M | re.S))
    seen = 0
    for block in results.blocks((ROOT / "docs" / "results.md").read_text()):
        for command in block.commands:
            name, *words = shlex.split(re.split(r" [|>] ", command)[0])
            if name == "python" and words[0] == "-c":
                compile(words[1], command, "exec")
            elif name == "python":
                assert (ROOT / words[0]).is_file(), command
            if name != "othellolens":
                continue
            options = [word for word in words[1:] if word.startswith("--")]
            known = re.findall(r"--[\w-]+", helps[words[0]])
            assert set(options) <= set(known), command
            seen += len(options)
    assert seen > 40
