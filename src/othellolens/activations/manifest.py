"""What a folder of stored rows says of itself: whose they are, and how far they go."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ..artifact import CONFIG, read_json, write_json
from ..errors import InputError

KIND = "activations"
DType: TypeAlias = Literal["float16", "bfloat16", "float32"]
"""Of numbers on disk."""
DTYPES = get_args(DType)


@dataclass(frozen=True)
class Manifest:
    """What `config.json` says of the rows beside it."""

    model: str
    model_sha256: str
    """See `fingerprint`."""
    sites: dict[str, int]
    """Names of the sites, and the length of the vectors there."""
    dtype: str
    origin: str
    """Where the games are from, all of them, also while some are not stored yet."""
    games_sha256: str
    """Of the moves."""
    reading: dict[str, Any]
    """How the model was read: precision, compiled, batch."""
    games: list[int]
    """Games a window."""
    rows: list[int]
    """Rows a window."""
    finished: int
    """Windows that are stored."""
    provenance: dict[str, str]

    @property
    def done(self) -> int:
        """Rows that are stored."""
        return sum(self.rows[: self.finished])

    def write(self, folder: Path) -> None:
        """Write it, in one step."""
        write_json(folder / CONFIG, {"kind": KIND, "schema": 1, **asdict(self)})

    @staticmethod
    def read(folder: Path) -> "Manifest":
        """Read it.

        Raises:
            InputError: none, or of something else.
        """
        found = read_json(folder / CONFIG)
        if found.get("kind") != KIND:
            raise InputError(
                f"{folder / CONFIG} is of kind {found.get('kind')!r}, no stored activations"
            )
        if not _describes_rows(found):
            raise InputError(f"{folder / CONFIG} does not describe its rows: store them elsewhere")
        return Manifest(**{field.name: found[field.name] for field in fields(Manifest)})


def _describes_rows(found: Mapping[str, Any]) -> bool:
    if not {field.name for field in fields(Manifest)} <= found.keys():
        return False
    rows, games, sites, finished = (found[key] for key in ("rows", "games", "sites", "finished"))
    if not (isinstance(rows, list) and isinstance(games, list) and isinstance(sites, dict)):
        return False
    numbers = [*rows, *games, *sites.values(), finished]
    return (
        all(isinstance(number, int) and number >= 0 for number in numbers)
        and finished <= len(rows) == len(games)
        and found["dtype"] in DTYPES
    )
