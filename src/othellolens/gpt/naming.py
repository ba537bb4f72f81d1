"""Which hook points a name, several, a site or a predicate means."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from ..errors import InputError
from .sites import Site

NamesFilter: TypeAlias = str | Site | Sequence[str | Site] | Callable[[str], bool] | None


def named(points: Mapping[str, Any], names: NamesFilter) -> list[str]:
    """Names of hook points, each once, in the order asked for.

    Args:
        points: those that the model has, by name.
        names: as in `GPT.run_with_cache`; None means every point but `attn.hook_result`.

    Raises:
        InputError: a name that no hook point has (the nearest is suggested), or no name at all.
    """
    if names is None:
        return [name for name in points if not name.endswith("attn.hook_result")]
    if callable(names):
        return [name for name in points if names(name)]
    asked: Any = names
    if isinstance(asked, str | Site) or not isinstance(asked, Iterable):
        asked = [asked]
    wanted = [name.hook_name if isinstance(name, Site) else name for name in asked]
    for name in wanted:
        if not isinstance(name, str):
            raise InputError(
                f"{name!r} names no hook point: give names such as 'blocks.0.hook_resid_post',"
                " sites, or a predicate on names"
            )
        if name not in points:
            near = get_close_matches(name, points, n=1, cutoff=0.0)[0]
            raise InputError(
                f"no hook point {name!r}: did you mean {near!r}? This model has {_summary(points)}"
            )
    return list(dict.fromkeys(wanted))


def _summary(points: Mapping[str, Any]) -> str:
    blocks = [name.split(".", 2) for name in points if name.startswith("blocks.")]
    inner = sorted({name for _, _, name in blocks})
    outer = [name for name in points if not name.startswith("blocks.")]
    return (
        f"{', '.join(outer)} and, for layers 0 to {max(int(layer) for _, layer, _ in blocks)},"
        f" blocks.LAYER. followed by {', '.join(inner)}"
    )
