"""How a model is read while something learns from its activations."""

from dataclasses import dataclass
from typing import Literal

from ..errors import InputError


@dataclass(frozen=True)
class Harvest:
    """How the model is read: by default to the bits of `run_with_cache`, and when rows are due."""

    harvest_precision: Literal["fp32", "bf16"] = "fp32"
    """Of the model's products; the rows are float32 either way, from bf16 of some 3 digits."""
    harvest_compiled: bool = False
    """Compile the model's layers that are read: some 20 seconds once; needs a C++ compiler."""
    prefetch: int = 0
    """Windows of games that a thread reads ahead; it changes no batch. For a GPU."""

    def __post_init__(self) -> None:
        if self.prefetch < 0:
            raise InputError(f"prefetch is a number of windows, 0 for none, not {self.prefetch}")

    @property
    def plain(self) -> bool:
        """Whether rows have the bits of `run_with_cache`."""
        return self.harvest_precision == "fp32" and not self.harvest_compiled

    def check_stored(self) -> None:
        """Refuse to read what is stored otherwise than it was read.

        Raises:
            InputError: this is not plain.
        """
        if not self.plain:
            raise InputError(
                "stored rows are as they were read: leave --harvest-precision and"
                " --harvest-compiled out"
            )

    def told(self) -> dict[str, str | bool]:
        """What decides the bits of the rows, where it is not plain."""
        if self.plain:
            return {}
        return {"precision": self.harvest_precision, "compiled": self.harvest_compiled}
