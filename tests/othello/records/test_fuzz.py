"""Mutated files end in success or in one line, quickly; `benchmarks/fuzz_records.py` runs more."""

from pathlib import Path

import pytest
from reference.mutations import READERS, fuzz


@pytest.mark.parametrize("reader", READERS)
def test_mutated_files_end_in_success_or_one_line(reader: str, tmp_path: Path) -> None:
    found = fuzz(reader, 300, seed=0, folder=tmp_path)
    assert not found.errors
    assert found.accepted + found.refused == 300
    assert min(found.accepted, found.refused) > 10
