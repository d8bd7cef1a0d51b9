"""Speaks to a Ceph cluster as `child` does, and looks at many images at once: what lies in a pool, and how large it is over what.

librbd opens an image in 7 to 11 ms (measured), which is too long for 500 of them each minute. So the size and the parent are asked of the
OSDs by the two calls of class `rbd` that every client makes when it opens an image: 0.2 ms for both.
"""

import struct
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from typing import Any


def _beside(name: str) -> Any:
    """Our own file of that name: the directory itself is none that modules are looked for in, for it has an `rbd` of ours."""
    found = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


child: Any = _beside("child")


class Lists(child.Calls):
    """Two calls more; neither opens an image of the pool, nor changes anything."""

    def images(self, pool: str, most: int) -> dict[str, Any]:
        """The ids of all images of the pool, by name, and the names in its trash; Refused where there are more than so many."""
        with self._pool(pool) as here:
            found = {one["name"]: one["id"] for one in islice(self._rbd.list2(here), most + 1)}
            trash = sorted({one["name"] for one in islice(self._rbd.trash_list(here), most + 1)})
        if max(len(found), len(trash)) > most:
            raise child.Refused(f"it has more than {most} images")
        return {"images": found, "trash": trash}

    def heads(self, pool: str, ids: list[str]) -> dict[str, Any]:
        """Size and parent of these images, by id; one that is gone is left out."""
        found: dict[str, Any] = {}
        parents: dict[tuple[int, str, int], list[str]] = {}
        with self._pool(pool) as here:
            for one in ids:
                with suppress(child.rados.ObjectNotFound):
                    parent = _parent(here, one)
                    if parent is not None and parent not in parents:
                        parents[parent] = self._named(*parent)
                    found[one] = {
                        "size_bytes": child.size_of(here, one),
                        "parent": parent and parents[parent],
                    }
        return found

    def _named(self, pool: int, image: str, snapshot: int) -> list[str]:
        """Pool, image and snapshot as people call them; their numbers where they are gone, or out of reach."""
        where = self._cluster.pool_reverse_lookup(pool)
        try:
            with self._pool(where) as there, child.rbd.Image(there, image_id=image, read_only=True) as opened:
                names = {one["id"]: one["name"] for one in opened.list_snaps()}
                return [where, opened.get_name(), names.get(snapshot, str(snapshot))]
        except (child.rbd.ImageNotFound, child.rados.ObjectNotFound):
            return [where, image, str(snapshot)]


def _parent(here: Any, one: str) -> tuple[int, str, int] | None:
    """The numbers of pool and snapshot, and the image's id between them; None where it lies over nothing."""
    said = child.asked(here, one, "get_parent")
    pool, length = struct.unpack_from("<qI", said)
    image = said[12 : 12 + length].decode()
    (snapshot,) = struct.unpack_from("<Q", said, 12 + length)
    return (pool, image, snapshot) if pool >= 0 and image else None


if __name__ == "__main__":
    child.main(Lists)
