"""Controls for any intervention: another square, a random direction, another layer."""

from typing import Any

import torch
from torch import Tensor

from ..gpt.model import GPT
from ..gpt.sites import Hook
from .counterfactuals import Counterfactual, elsewhere
from .interventions import Hooks, Intervention, histories_of


def another_square(intervention: Intervention, *, seed: int = 0) -> Intervention:
    """Flip another disc than the one that is asked for, in the same way."""
    return lambda wanted: intervention(elsewhere(wanted, seed=seed))


def random_direction(intervention: Intervention, *, seed: int = 0) -> Intervention:
    """Change every vector by as much as the intervention does, in a random direction."""

    def hooks(wanted: Counterfactual) -> Hooks:
        generator = torch.Generator().manual_seed(seed)
        return [(name, _turned(hook, generator)) for name, hook in intervention(wanted)]

    return hooks


def another_layer(intervention: Intervention, model: GPT) -> Intervention:
    """Put each layer's change half the model's depth further on, beginning again at the first."""
    layers = model.cfg.n_layers

    def hooks(wanted: Counterfactual) -> Hooks:
        changes: dict[str, Tensor] = {}
        watched = [(name, _noted(hook, name, changes)) for name, hook in intervention(wanted)]
        model.run_with_hooks(histories_of(model, wanted), watched)
        return [(_moved(name, layers), _added(change)) for name, change in changes.items()]

    return hooks


def _moved(name: str, layers: int) -> str:
    head, layer, rest = name.split(".", 2)
    return f"{head}.{(int(layer) + max(1, layers // 2)) % layers}.{rest}"


def _turned(inner: Hook, generator: torch.Generator) -> Hook:
    def put(x: Tensor, hook: Any) -> Tensor:
        change = inner(x, hook=hook) - x
        drawn = torch.randn(change.shape, generator=generator).to(change)
        size = change.norm(dim=-1, keepdim=True)
        return x + drawn / drawn.norm(dim=-1, keepdim=True).clamp(min=1e-12) * size

    return put


def _noted(inner: Hook, name: str, changes: dict[str, Tensor]) -> Hook:
    def put(x: Tensor, hook: Any) -> Tensor:
        out = inner(x, hook=hook)
        changes[name] = out - x
        return out

    return put


def _added(change: Tensor) -> Hook:
    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        out = x.clone()
        out[:, : change.shape[1]] += change.to(out)
        return out

    return put
