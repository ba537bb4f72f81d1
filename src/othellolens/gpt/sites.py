"""Sites: named places in the network at which activations are read or edited.

Hook names are those of TransformerLens' HookedTransformer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError

Hook: TypeAlias = Callable[..., Any]
"""`hook(activation, hook=HookPoint)`: returns the activation to go on with, or None to keep it."""

_SHORT = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "z": "attn.hook_z",
    "mlp_out": "hook_mlp_out",
    "mlp_post": "mlp.hook_post",
    "mlp_pre": "mlp.hook_pre",
    "ln1": "ln1.hook_normalized",
    "ln2": "ln2.hook_normalized",
}
SITES = tuple(_SHORT)


class HookPoint(nn.Module):
    """An identity through which one activation passes; functions put on it may read or edit it."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.hooks: list[Hook] = []

    def forward(self, x: Tensor) -> Tensor:
        for hook in tuple(self.hooks):
            edited = hook(x, hook=self)
            x = x if edited is None else edited
        return x

    def take_off(self, hook: Hook) -> None:
        """Remove a function that may be on it, found by identity; none there is no error."""
        for place in reversed(range(len(self.hooks))):
            if self.hooks[place] is hook:
                del self.hooks[place]
                return


@dataclass(frozen=True)
class Site:
    """A place in the network, e.g. `Site("resid_post", layer=3)`: after block 3, counted from 0.

    `Site("z", 3)` are the outputs of all heads of layer 3 side by side, `Site("z", 3, head=5)` is
    that of one, before W_O.
    """

    kind: str
    layer: int
    head: int | None = None
    """Of kind z: the one head that is meant, counted from 0; None: all."""

    def __post_init__(self) -> None:
        if self.kind not in _SHORT:
            raise InputError(f"no site {self.kind!r}: choose one of {', '.join(SITES)}")
        if self.layer < 0:
            raise InputError(f"layer {self.layer}: layers are counted from 0")
        if self.head is not None and (self.kind != "z" or self.head < 0):
            raise InputError(f"{self.kind} head {self.head}: heads, counted from 0, are parts of z")

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}" + ("" if self.head is None else f".{self.head}")

    @property
    def hook_name(self) -> str:
        """The hook point's full name, e.g. `blocks.3.hook_resid_post`."""
        return f"blocks.{self.layer}.{_SHORT[self.kind]}"

    def vectors(self, x: Float[Tensor, "game ply *_"]) -> Float[Tensor, "game ply d_in"]:
        """The site's vectors in what passes its hook point, which may have an axis of heads."""
        if self.kind != "z":
            return x
        return x.flatten(-2) if self.head is None else x[..., self.head, :]

    def with_vectors(
        self, x: Float[Tensor, "game ply *_"], vectors: Float[Tensor, "game ply d_in"]
    ) -> Float[Tensor, "game ply *_"]:
        """What passes the hook point when the site's vectors are others; x is not changed."""
        vectors = vectors.to(x)
        if self.kind != "z":
            return vectors
        if self.head is None:
            return vectors.unflatten(-1, x.shape[-2:])
        out = x.clone()
        out[..., self.head, :] = vectors
        return out

    @staticmethod
    def parse(text: str) -> "Site":
        """A site from `kind.layer` ("resid_post.3"), `z.layer.head` or a hook name.

        Raises:
            InputError: none of them.
        """
        if text.startswith("blocks."):
            layer, _, rest = text.removeprefix("blocks.").partition(".")
            kinds = [kind for kind, hook in _SHORT.items() if hook == rest]
            if kinds and layer.isdecimal():
                return Site(kinds[0], int(layer))
        kind, *numbers = text.split(".")
        if not 1 <= len(numbers) <= 1 + (kind == "z") or not all(n.isdecimal() for n in numbers):
            kind = ""
        if kind not in _SHORT:
            raise InputError(
                f"no site {text!r}: write kind.layer, e.g. resid_post.3, the kind one of"
                f" {', '.join(SITES)}; or z.layer.head"
            )
        return Site(kind, *map(int, numbers))
