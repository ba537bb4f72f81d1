"""Compiling loops with numba, bare of the type checks that tests put around every function.

Importing this imports numba: modules of kernels do so, and are imported when they are needed.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F, *, inline: bool = False, fastmath: bool = False) -> F:
    """A function that numba compiles when it is first called and then keeps on disk.

    Args:
        function: plain loops over arrays. It releases the GIL.
        inline: put it into its callers, so that their loops can be vectorised.
        fastmath: let sums be added up in another order.
    """
    bare = inspect.unwrap(function)
    flags: dict[str, Any] = {"nogil": True, "forceinline": inline, "fastmath": fastmath}
    try:
        return cast(F, numba.njit(cache=True, **flags)(bare))
    except RuntimeError:
        # Nowhere to keep what is compiled (a read-only installation and home): compile each time.
        return cast(F, numba.njit(**flags)(bare))
