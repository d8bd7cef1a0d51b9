"""State as arrays with one column per pool (the last axis), so that pools are added, taken out, saved and read back in one way.

Everything a model computes is elementwise over that axis, or summed along another one, row after row: a pool's result is the
same bit for bit whichever pools stand beside it, on any machine.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.uint8]


class _Columns(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


C = TypeVar("C", bound=_Columns)


def arrays_of(state: _Columns) -> dict[str, NDArray[Any]]:
    """Every array of one part, by its name."""
    return {field.name: getattr(state, field.name) for field in fields(state)}


def joined(state: C, more: C) -> C:
    """The same part with the pools of `more` behind its own."""
    mine, theirs = arrays_of(state), arrays_of(more)
    return type(state)(**{name: np.concatenate((mine[name], theirs[name]), axis=-1) for name in mine})


def chosen(state: C, keep: Flags | Whole) -> C:
    """The same part with only the pools that `keep` names, in their order."""
    return type(state)(
        **{name: np.ascontiguousarray(array[..., keep]) for name, array in arrays_of(state).items()}
    )


def read_back(fresh: C, prefix: str, saved: Mapping[str, NDArray[Any]]) -> C:
    """The part as it was saved under `prefix`.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another shape or type than this model's: it was saved by another one.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, array in arrays_of(fresh).items():
        was = saved[f"{prefix}.{name}"]
        if was.shape != array.shape or was.dtype != array.dtype:
            raise ValueError(
                f"A saved forecast has {prefix}.{name} as {was.dtype}{was.shape}, this model as {array.dtype}{array.shape}: "
                "it was saved by another version. Let the forecaster learn from its history again."
            )
        found[name] = was.copy()
    return type(fresh)(**found)
