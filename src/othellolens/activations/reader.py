"""Reading sites of a model in one pass, and running nothing that lies behind the last of them."""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import InputError
from ..gpt.model import GPT, Block
from ..gpt.sites import Site

_FULL = 16
# Plies are filled up to a multiple of this where bits may differ: attention is up to twice as fast
# on the CPU where its rows fill whole vector registers.


class Reader:
    """Reads the activations at one site or several, fast: `reader(tokens)`, `reader.read(tokens)`.

    The plain reader returns the same bits as `run_with_cache` of each site alone. What it may do
    beside that is asked for, never silent: bfloat16 products (activations to about 3 significant
    digits; the residual stream is added up in float32), and compilation, which takes some 20
    seconds once, needs a C++ compiler, and takes the weights as they are at the first call.
    """

    def __init__(
        self,
        model: GPT,
        sites: Site | Sequence[Site],
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        compiled: bool = False,
        batch: int = 64,
    ) -> None:
        """Make a reader.

        Args:
            model: the player.
            sites: where to read; several are read in one forward pass.
            precision: of the products.
            compiled: compile for this model, these sites and this batch.
            batch: games a forward pass; more are read in several, fewer are filled up if compiled.

        Raises:
            InputError: the model does not have a site, there is none, or `batch` is not positive.
        """
        self.sites = each_once(sites)
        for site in self.sites:
            model.check_site(site)
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        self.model, self.batch = model, batch
        self.precision, self.compiled = precision, compiled
        plain = precision == "fp32" and not compiled
        self._part: nn.Module = _Part(model, self.sites, 1 if plain else _FULL)
        if compiled:
            on_cpu = model.device.type == "cpu"
            whole = torch.compile(self._part, dynamic=False, options={"freezing": on_cpu})
            self._part = cast(nn.Module, whole)

    def __call__(self, tokens: Int64[Tensor, "game ply"]) -> Float[Tensor, "game ply d_in"]:
        """The activations at the one site, float32, on the model's device.

        Raises:
            InputError: ids or a length that the model does not have; this reads several sites.
        """
        if len(self.sites) > 1:
            raise InputError(f"this reads {_listed(self.sites)}: use reader.read(tokens)[site]")
        return next(iter(self.read(tokens).values()))

    @torch.no_grad()
    def read(self, tokens: Int64[Tensor, "game ply"]) -> dict[Site, Float[Tensor, "game ply _"]]:
        """The activations at every site, float32, on the model's device.

        Two sites that are one place (`resid_post.0`, `resid_pre.1`) may share their memory.

        Raises:
            InputError: ids or a length that the model does not have.
        """
        self.model.check_input(tokens)
        parts = [self._read(part) for part in tokens.split(self.batch)]
        if len(parts) == 1:
            return dict(zip(self.sites, parts[0], strict=True))
        if not parts:
            return {s: torch.empty(0, tokens.shape[1], self.model.width(s)) for s in self.sites}
        return {site: torch.cat([p[i] for p in parts]) for i, site in enumerate(self.sites)}

    def check_reads(self, model: GPT, sites: tuple[Site, ...]) -> None:
        """Refuse to stand in for a reader of something else.

        Raises:
            InputError: this is of another model, or reads other sites.
        """
        if self.model is not model or self.sites != sites:
            raise InputError(
                f"the reader reads {_listed(self.sites)} of {self.model.name}, not {_listed(sites)}"
            )

    def _read(self, tokens: Tensor) -> list[Tensor]:
        device, games = self.model.device, len(tokens)
        tokens = tokens.to(device)
        if self.compiled and games < self.batch:
            tokens = torch.cat([tokens, tokens.new_zeros(self.batch - games, tokens.shape[1])])
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return [x[:games].float() for x in self._part(tokens)]


def each_once(sites: Site | Sequence[Site]) -> tuple[Site, ...]:
    """One site or several as a tuple in which none comes twice.

    Raises:
        InputError: there is none.
    """
    found = (sites,) if isinstance(sites, Site) else tuple(dict.fromkeys(sites))
    if not found:
        raise InputError("there is no site to read: name at least one")
    return found


def _listed(sites: tuple[Site, ...]) -> str:
    return ", ".join(map(str, sites))


class _Part(nn.Module):
    """The model up to the last of some sites."""

    def __init__(self, model: GPT, sites: tuple[Site, ...], full: int) -> None:
        super().__init__()
        self.model, self.sites, self.full = model, sites, full
        self.kinds = [
            frozenset(site.kind for site in sites if site.layer == layer)
            for layer in range(1 + max(site.layer for site in sites))
        ]
        """Of each layer: what is read there."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        plies = tokens.shape[1]
        # No ply sees what is put behind it.
        resid = nn.functional.pad(self.model(tokens, 0), (0, 0, 0, -plies % self.full))
        found: list[dict[str, Tensor]] = []
        for layer, kinds in enumerate(self.kinds):
            last = layer == len(self.kinds) - 1
            inside = _inside(cast(Block, self.model.blocks[layer]), resid, kinds, last)
            found.append({kind: inside[kind] for kind in kinds})
            resid = resid if last else inside["resid_post"]
        return tuple(site.vectors(found[site.layer][site.kind])[:, :plies] for site in self.sites)


_STEPS: dict[str, Callable[[Block, dict[str, Tensor]], Tensor]] = {
    "resid_pre": lambda block, x: block.hook_resid_pre(x["read"]),
    "ln1": lambda block, x: block.ln1.normalized(x["resid_pre"]),
    "z": lambda block, x: block.attn.z(block.ln1(x["resid_pre"])),
    "attn_out": lambda block, x: block.hook_attn_out(block.attn.out(x["z"])),
    "resid_mid": lambda block, x: block.hook_resid_mid(x["resid_pre"] + x["attn_out"]),
    "ln2": lambda block, x: block.ln2.normalized(x["resid_mid"]),
    "mlp_pre": lambda block, x: block.mlp.hook_pre(
        block.ln2(x["resid_mid"]) @ block.mlp.W_in + block.mlp.b_in
    ),
    "mlp_post": lambda block, x: block.mlp.hook_post(nn.functional.gelu(x["mlp_pre"])),
    "mlp_out": lambda block, x: block.hook_mlp_out(
        x["mlp_post"] @ block.mlp.W_out + block.mlp.b_out
    ),
    "resid_post": lambda block, x: block.hook_resid_post(x["resid_mid"] + x["mlp_out"]),
}
"""A block, one step after the other: the same products as in `Block`, in the same order."""
_ASIDE = {"ln1", "ln2"}
# No later step needs these: layer norms with gain and bias have a faster way past them.


def _inside(block: Block, resid: Tensor, kinds: frozenset[str], last: bool) -> dict[str, Tensor]:
    if kinds <= {"resid_post"}:
        return {"resid_post": block(resid)}
    x = {"read": resid}
    for kind, step in _STEPS.items():
        if kind in kinds or kind not in _ASIDE:
            x[kind] = step(block, x)
        if last and kinds <= x.keys():
            break
    return x
