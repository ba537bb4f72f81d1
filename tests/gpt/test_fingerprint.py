"""Which model it is: its weights and shape, nothing else."""

import copy
from dataclasses import replace

import pytest
import torch
from reference.tiny import tiny_model

from othellolens.gpt.fingerprint import fingerprint
from othellolens.gpt.model import GPT


def test_only_weights_and_shape_count() -> None:
    model, again = tiny_model(), tiny_model()
    again.name = "another name"
    again.blocks[0].attn.W_Q.data = again.blocks[0].attn.W_Q.data.contiguous()  # pyright: ignore
    assert fingerprint(model) == fingerprint(again)
    assert len(fingerprint(model)) == 64


@pytest.mark.parametrize("key", ["embed.W_E", "blocks.1.mlp.b_out", "unembed.b_U"])
def test_the_last_bit_of_a_weight_counts(key: str) -> None:
    model = tiny_model()
    other = copy.deepcopy(model)
    weight = other.get_parameter(key)
    with torch.no_grad():
        weight.view(-1)[-1] = torch.nextafter(weight.view(-1)[-1], torch.tensor(9.0))
    assert fingerprint(other) != fingerprint(model)


def test_the_shape_counts_where_the_weights_do_not_show_it() -> None:
    model = tiny_model()
    other = GPT(replace(model.cfg, eps=1e-6))
    other.load_state_dict(model.state_dict())
    assert fingerprint(other) != fingerprint(model)
