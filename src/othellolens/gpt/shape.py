"""The shape of a model, the shapes that have a name, and what can be no shape."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from ..errors import InputError
from .tokens import CONTEXT, VOCABULARY


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model."""

    n_layers: int = 8
    """Transformer blocks."""
    d_model: int = 512
    """Width of the residual stream."""
    n_heads: int = 8
    """Attention heads a block."""
    d_mlp: int = 2048
    """Neurons of a block's MLP."""
    normalization: Literal["LN", "LNPre"] = "LNPre"
    """Layer norm with (LN) or without (LNPre) a gain and a bias of its own."""
    n_ctx: int = CONTEXT
    """Longest move list that the model reads."""
    d_vocab: int = VOCABULARY
    """Tokens: padding and the 60 playable squares."""
    eps: float = 1e-5
    """Added to the variance inside the layer norm."""

    def __post_init__(self) -> None:
        check_shape(asdict(self))

    @property
    def d_head(self) -> int:
        """Width of a head."""
        return self.d_model // self.n_heads

    def to_dict(self) -> dict[str, object]:
        """The fields by name, as they are saved."""
        return asdict(self)


def check_shape(shape: Mapping[str, object]) -> None:
    """Refuse what cannot be the shape of a model; `shape` has every field of `GPTConfig`.

    Raises:
        InputError: naming the field.
    """
    for key, value in shape.items():
        if key == "normalization":
            if value not in ("LN", "LNPre"):
                raise InputError(f"normalization is LN or LNPre, not {value!r}")
        elif not isinstance(value, int if key != "eps" else float) or not 0 < value < float("inf"):
            raise InputError(f"{key} of a model is a positive number, not {value!r}")
    width, heads = shape["d_model"], shape["n_heads"]
    if isinstance(width, int) and isinstance(heads, int) and width % heads:
        raise InputError(f"d_model {width} is not a multiple of n_heads {heads}")


PRESETS = {
    "mini": GPTConfig(n_layers=5, d_model=256, n_heads=8, d_mlp=1024),
    "published": GPTConfig(),
}
