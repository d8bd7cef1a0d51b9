"""What the model learnt, in one file that is whole or not there: a restart goes on with the same targets, bit for bit."""

import asyncio
import hashlib
from functools import cache
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np

from events import durable
from services.forecaster import model as model_package
from services.forecaster import parameters, roster
from services.forecaster.roster import Arrays, Place, Roster

FILE: Final = "learnt"
_SEAL_BYTES: Final = 32


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's first line: by which code it was made, which pools are in it, and what arrays follow."""

    made_by: str
    names: list[Place]
    arrays: list[tuple[str, str, list[int]]]


class UnusableError(ValueError):
    """A kept file was cut short, damaged, or made by other code; the sentence says which. The past is learnt anew."""

    code = "ForecastUnusable"


class Shelf(Protocol):
    """Where one thing is kept."""

    async def read(self) -> bytes | None:
        """What was put there last; None when nothing was."""
        ...

    async def put(self, data: bytes | bytearray) -> None:
        """It is there from now on, whole, or what was there before."""
        ...


class Directory:
    """A file in a directory of the house, for its owner alone."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    async def read(self) -> bytes | None:
        """The file's bytes."""
        try:
            return await asyncio.to_thread(self._path.read_bytes)
        except FileNotFoundError:
            return None

    async def put(self, data: bytes | bytearray) -> None:
        """The file holds these bytes, also after a power cut. Safe to repeat."""
        await asyncio.to_thread(durable.write, self._path, data)


@cache
def made_by() -> str:
    """Names the code and the parameters that a kept state can be gone on with by: other code means something else by it."""
    folder = Path(model_package.__file__).parent
    files = [*sorted(folder.glob("*.py")), Path(parameters.__file__), Path(roster.__file__)]
    digest = hashlib.sha256(parameters.DEFAULT.name().encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


def encode(kept: Roster, by: str) -> bytearray:
    """The roster as a file: a line of JSON, the arrays' bytes, and a SHA-256 of all of it."""
    arrays = kept.arrays()
    head = _Head(
        by,
        kept.names,
        [(name, array.dtype.str, list(array.shape)) for name, array in arrays.items()],
    )
    line = msgspec.json.encode(head) + b"\n"
    # Into one buffer of the right length: of ten thousand pools it is 270 MB, and each copy as much again.
    data = bytearray(len(line) + sum(array.nbytes for array in arrays.values()) + _SEAL_BYTES)
    data[: len(line)] = line
    place = len(line)
    for array in arrays.values():
        data[place : place + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        place += array.nbytes
    data[place:] = hashlib.sha256(memoryview(data)[:place]).digest()
    return data


def decode(data: bytes | bytearray, by: str) -> Roster:
    """The roster in a file; `UnusableError` when nobody may go on with it."""
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if hashlib.sha256(body).digest() != seal:
        raise UnusableError("What was learnt is cut short or damaged: its digest is another one.")
    line, _, rest = body.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=_Head)
        if head.made_by != by:
            raise UnusableError("What was learnt was learnt by other code or parameters.")
        found: Arrays = {}
        place = 0
        for name, kind, shape in head.arrays:
            array = np.frombuffer(rest, kind, count=int(np.prod(shape, dtype=np.int64)), offset=place)
            found[name] = array.reshape(shape)
            place += array.nbytes
        return Roster.of_arrays(head.names, found)
    except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, UnusableError):
            raise
        raise UnusableError(f"What was learnt cannot be read: {error}.") from error
