"""Single plies of games run again with something else in them, all plies before as they were.

What a model makes of a ply is changed by an edit there alone: later plies are not seen, and the
keys and values of earlier ones are those of the run without an edit. So one vector a block is
computed in place of a game.
"""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .model import GPT, Attention, Block
from .sites import HookPoint, Site

Put = Callable[[Float[Tensor, "edit d_in"]], Float[Tensor, "edit d_in"]]


class OnePly:
    """A model on some games, ready to go on from single plies with other vectors at a site.

    Memory: d_model floats a ply, and 2 d_model for each block from the site's own to the last.
    """

    logits: Float[Tensor, "game ply d_vocab"]
    """Without an edit."""

    @torch.no_grad()
    def __init__(self, model: GPT, ids: Int64[Tensor, "game ply"], site: Site) -> None:
        """Run the model on the games.

        Raises:
            InputError: the model has no such site, or cannot read the ids.
        """
        model.check_site(site)
        self.model, self.site = model, site
        kept = [f"blocks.{site.layer}.hook_resid_pre"]
        for layer in range(site.layer, model.cfg.n_layers):
            kept += [f"blocks.{layer}.attn.hook_k", f"blocks.{layer}.attn.hook_v"]
        self.logits, self._cache = model.run_with_cache(ids.to(model.device), kept)

    @torch.no_grad()
    def run(
        self, game: Int64[Tensor, " edit"], ply: Int64[Tensor, " edit"], put: Put
    ) -> Float[Tensor, "edit d_vocab"]:
        """Logits at these plies of these games with what `put` makes of the site's vectors there.

        Equal to those of a whole run with the same edit, up to rounding: other shapes are
        multiplied in another order.
        """
        game, ply = game.to(self.model.device), ply.to(self.model.device)

        def edit(x: Tensor, hook: HookPoint) -> Tensor:  # noqa: ARG001
            return self.site.with_vectors(x, put(self.site.vectors(x)[:, 0])[:, None])

        resid = self._cache[f"blocks.{self.site.layer}.hook_resid_pre"][game, ply][:, None]
        with self.model.hooks([(self.site.hook_name, edit)]):
            for layer, block in self._blocks():
                key, value = (self._cache[f"blocks.{layer}.attn.hook_{x}"][game] for x in "kv")
                resid = _one_ply(block, resid, key, value, ply)
        return self.model.unembed(self.model.ln_final(resid))[:, 0]

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        for layer in range(self.site.layer, self.model.cfg.n_layers):
            yield layer, cast(Block, self.model.blocks[layer])


def _one_ply(block: Block, resid: Tensor, key: Tensor, value: Tensor, ply: Tensor) -> Tensor:
    """What a block makes of one ply of each game, beside the keys and values of all."""
    resid = block.hook_resid_pre(resid)
    z = _attend(block.attn, block.ln1(resid), key, value, ply)
    resid = block.hook_resid_mid(resid + block.hook_attn_out(block.attn.out(z)))
    return block.hook_resid_post(resid + block.hook_mlp_out(block.mlp(block.ln2(resid))))


def _attend(
    attn: Attention,
    x: Float[Tensor, "edit 1 d_model"],
    key: Float[Tensor, "edit ply head d_head"],
    value: Float[Tensor, "edit ply head d_head"],
    ply: Int64[Tensor, " edit"],
) -> Float[Tensor, "edit 1 head d_head"]:
    q, k, v = attn.queries_keys_values(x)
    rows = torch.arange(len(x), device=x.device)
    # Taken from the cache by an index, and so copies.
    key[rows, ply], value[rows, ply] = k[:, 0], v[:, 0]
    scores = torch.einsum("ehd,ephd->ehp", q[:, 0], key) * attn.cfg.d_head**-0.5
    later = torch.arange(key.shape[1], device=x.device) > ply[:, None]
    pattern = scores.masked_fill(later[:, None], float("-inf")).softmax(-1)
    return attn.hook_z(torch.einsum("ehp,ephd->ehd", pattern, value)[:, None])
