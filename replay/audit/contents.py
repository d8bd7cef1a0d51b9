"""What an archive consists of, file by file, computed from how many events it has and never from what lies there."""

from collections.abc import Callable, Iterator

from events.tlog.files import Files
from events.tlog.tiles import LEVELS, WIDTH, TileError, bundle_path, tile_path
from events.tlog.tree import HASH_BYTES
from replay.audit.hashed import wide


def contents(files: Files, size: int) -> Iterator[tuple[str, bytes, int]]:
    """Path and bytes of every tile and bundle of the first `size` events, and how many events are done with it.

    They come in an order in which a longer ledger's begin with a shorter one's, as far as they are full. An archive that has
    grown meanwhile gives the beginning of its wider files. Raises `TileError` where one is missing.
    """
    yield from _full(files, size)
    yield from _partial(files, size)


def _full(files: Files, size: int) -> Iterator[tuple[str, bytes, int]]:
    for bundle in range(size // WIDTH):
        done = (bundle + 1) * WIDTH
        yield *_copied(files, lambda width, at=bundle: bundle_path(at, width), WIDTH, entries=True), done
        level, tile = 0, bundle
        while True:
            yield *_copied(files, lambda width, up=level, at=tile: tile_path(up, at, width), WIDTH), done
            if (tile + 1) % WIDTH:
                break
            level, tile = level + 1, tile // WIDTH


def _partial(files: Files, size: int) -> Iterator[tuple[str, bytes, int]]:
    if size % WIDTH:
        last, width = divmod(size, WIDTH)
        yield *_copied(files, lambda width: bundle_path(last, width), width, entries=True), size
    for level in range(size.bit_length() // LEVELS + 1):
        tile, width = divmod(size >> LEVELS * level, WIDTH)
        if width:
            yield *_copied(files, lambda width, up=level, at=tile: tile_path(up, at, width), width), size


def _copied(
    files: Files, path: Callable[[int], str], width: int, *, entries: bool = False
) -> tuple[str, bytes]:
    """The file of this width, taken from a wider one if the archive has grown meanwhile; with `entries` it is a bundle."""
    found = wide(files, path, width)
    data = found.data
    if data is None:
        raise TileError(found.why)
    if found.path != path(width):
        data = data[: _end(data, width)] if entries else data[: HASH_BYTES * width]
    return path(width), data


def _end(bundle: bytes, entries: int) -> int:
    """Where so many entries end."""
    at = 0
    for _ in range(entries):
        at += 2 + int.from_bytes(bundle[at : at + 2])
    return at
