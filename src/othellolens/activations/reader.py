"""Reading one site of a model, and running nothing that lies behind it."""

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
    """Reads the activations at one site, fast: `reader(tokens)`.

    The plain reader returns the same bits as `run_with_cache`. What it may do beside that is asked
    for, never silent: bfloat16 products (activations to about 3 significant digits; the residual
    stream is added up in float32), and compilation, which takes some 20 seconds once, needs a C++
    compiler, and takes the weights as they are at the first call.
    """

    def __init__(
        self,
        model: GPT,
        site: Site,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        compiled: bool = False,
        batch: int = 64,
    ) -> None:
        """Make a reader.

        Args:
            model: the player.
            site: where to read.
            precision: of the products.
            compiled: compile for this model, site and batch.
            batch: games a forward pass; more are read in several, fewer are filled up if compiled.

        Raises:
            InputError: the model does not have this site, or `batch` is not positive.
        """
        model.check_site(site)
        if batch < 1:
            raise InputError(f"batch must be at least 1, not {batch}")
        self.model, self.site, self.batch = model, site, batch
        self.precision, self.compiled = precision, compiled
        plain = precision == "fp32" and not compiled
        self._part: nn.Module = _Part(model, site, 1 if plain else _FULL)
        if compiled:
            on_cpu = model.device.type == "cpu"
            whole = torch.compile(self._part, dynamic=False, options={"freezing": on_cpu})
            self._part = cast(nn.Module, whole)

    @torch.no_grad()
    def __call__(self, tokens: Int64[Tensor, "game ply"]) -> Float[Tensor, "game ply d_in"]:
        """The activations, float32, on the model's device.

        Raises:
            InputError: ids or a length that the model does not have.
        """
        self.model.check_input(tokens)
        parts = [self._read(part) for part in tokens.split(self.batch)]
        if len(parts) == 1:
            return parts[0]
        width = self.model.width(self.site)
        return torch.cat(parts) if parts else torch.empty(0, tokens.shape[1], width)

    def _read(self, tokens: Tensor) -> Tensor:
        device, games = self.model.device, len(tokens)
        tokens = tokens.to(device)
        if self.compiled and games < self.batch:
            tokens = torch.cat([tokens, tokens.new_zeros(self.batch - games, tokens.shape[1])])
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self._part(tokens)[:games].float()


class _Part(nn.Module):
    """The model up to a site."""

    def __init__(self, model: GPT, site: Site, full: int) -> None:
        super().__init__()
        self.model, self.site, self.full = model, site, full

    def forward(self, tokens: Tensor) -> Tensor:
        layer, plies = self.site.layer, tokens.shape[1]
        # No ply sees what is put behind it.
        resid = nn.functional.pad(self.model(tokens, 0), (0, 0, 0, -plies % self.full))
        for block in self.model.blocks[:layer]:
            resid = block(resid)
        return _inside(cast(Block, self.model.blocks[layer]), resid, self.site.kind)[:, :plies]


def _inside(block: Block, resid: Tensor, kind: str) -> Tensor:
    if kind == "resid_post":
        return block(resid)
    if kind == "resid_pre":
        return resid
    if kind == "ln1":
        return block.ln1.normalized(resid)
    attn_out = block.attn(block.ln1(resid))
    if kind == "attn_out":
        return attn_out
    mid = resid + attn_out
    if kind == "resid_mid":
        return mid
    if kind == "ln2":
        return block.ln2.normalized(mid)
    normed = block.ln2(mid)
    if kind == "mlp_out":
        return block.mlp(normed)
    pre = normed @ block.mlp.W_in + block.mlp.b_in
    return pre if kind == "mlp_pre" else nn.functional.gelu(pre)
