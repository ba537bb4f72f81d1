"""Sites: named places in the network at which activations are read or edited.

Hook names are those of TransformerLens' HookedTransformer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..errors import InputError

Hook: TypeAlias = Callable[..., Any]
"""`hook(activation, hook=HookPoint)`: returns the activation to go on with, or None to keep it."""

_SHORT = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
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
    """A place in the network, e.g. `Site("resid_post", layer=3)`: after block 3, counted from 0."""

    kind: str
    layer: int

    def __post_init__(self) -> None:
        if self.kind not in _SHORT:
            raise InputError(f"no site {self.kind!r}: choose one of {', '.join(SITES)}")
        if self.layer < 0:
            raise InputError(f"layer {self.layer}: layers are counted from 0")

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"

    @property
    def hook_name(self) -> str:
        """The hook point's full name, e.g. `blocks.3.hook_resid_post`."""
        return f"blocks.{self.layer}.{_SHORT[self.kind]}"

    @staticmethod
    def parse(text: str) -> "Site":
        """A site from `kind.layer` ("resid_post.3") or from a hook name.

        Raises:
            InputError: neither.
        """
        if text.startswith("blocks."):
            layer, _, rest = text.removeprefix("blocks.").partition(".")
            kinds = [kind for kind, hook in _SHORT.items() if hook == rest]
            if kinds and layer.isdecimal():
                return Site(kinds[0], int(layer))
        kind, dot, layer = text.rpartition(".")
        if not dot or not layer.isdecimal() or kind not in _SHORT:
            raise InputError(
                f"no site {text!r}: write kind.layer, e.g. resid_post.3, the kind one of"
                f" {', '.join(SITES)}"
            )
        return Site(kind, int(layer))
