"""Speaks to a Ceph cluster as `child` does, and asks it for what takes the longer the more was written.

A process of its own, so that nobody who only looks at an image waits behind one that is copied.
"""

import os
from importlib.util import module_from_spec, spec_from_file_location
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
rbd: Any = child.rbd


class Copies(child.Calls):
    """Calls that copy or remove an image's objects. Each opens the image once, which takes up to 10 ms."""

    def begin(self, pool: str, image: str, nonce: str) -> dict[str, Any] | None:
        """The image as it is; or nothing, and then it is marked as being made by whoever has the nonce, until `whole`.

        An image in the making has no parent or no data yet, and nothing but the mark tells it from an empty one. What a former life
        left so is removed: nobody was told of it. Should its maker live after all, then the mark is not his any more.
        """
        found = self.look(pool, image)
        if found is None:
            with self._pool(pool) as here:
                found = self._begun(here, image, nonce)
        return found

    def whole(self, pool: str, image: str, nonce: str) -> dict[str, Any] | None:
        """The image is whole, and what it is; Taken where it is another's, who began anew."""
        with self._pool(pool) as here:
            self._ended(here, image, nonce)
        return self.look(pool, image)

    def duplicate(self, pool: str, image: str, order: str, parent: list[str]) -> dict[str, Any] | None:
        """There is an image with the contents of that snapshot, over nothing, and what it is; nothing, where the name is not that order's.

        It is claimed, cloned and flattened as by `claim`, `create` and `flatten`, and cut short it is gone on with as those are. One
        that lies over something else stays as it is.
        """
        nonce = os.urandom(16).hex()
        with self._pool(pool) as here:
            mine, found = self._claimed(here, pool, image, order)
            if not mine:
                return None
            if found is None and self._begun(here, image, nonce) is None:
                self._made(here, image, 0, parent)
                self._ended(here, image, nonce)
            with rbd.Image(here, image) as opened:
                if child.parent_of(opened) == parent:
                    opened.flatten()
                return child.seen(opened, own=1)

    def flatten(self, pool: str, image: str) -> dict[str, Any]:
        """The image lies over nothing."""
        with self._image(pool, image) as opened:
            if child.parent_of(opened) is not None:
                opened.flatten()
            return child.seen(opened, own=1)

    def restore(self, pool: str, image: str, name: str, size_bytes: int) -> dict[str, Any]:
        """The image is as at the snapshot, and has at least this size, and no less than before. Nothing is done while somebody watches it."""
        with self._image(pool, image) as opened:
            found = child.seen(opened, own=1)
            if found["watchers"]:
                return found
            if all(one["name"] != name for one in child.snapshots_of(opened)):
                raise rbd.ImageNotFound(f"no snapshot {name}", errno=child.ENOENT)
            size_bytes = max(size_bytes, opened.size())
            opened.rollback_to_snap(name)
            if opened.size() < size_bytes:
                opened.resize(size_bytes)
            return child.seen(opened, own=1)

    def discard(self, pool: str, image: str, order: str) -> None:
        """As `drop`, where the image is that order's."""
        with self._pool(pool) as here:
            try:
                mine = here.read(child.CLAIM + image) == order.encode()
            except child.rados.ObjectNotFound:
                mine = False
        if mine:
            self.drop(pool, image)

    def drop(self, pool: str, image: str) -> None:
        """There is no such image, whole or not, and no claim to it; ImageBusy as long as somebody holds it, or did until a moment ago."""
        with self._pool(pool) as here:
            self._clear(here, image)
        self.sweep(pool, image)

    def purge(self, pool: str, key: str) -> None:
        """The image is gone; Refused, with their names, where others lie over it."""
        with self._pool(pool) as here:
            try:
                self._rbd.trash_remove(here, key)
            except rbd.ImageNotFound:
                return  # that is what is wanted
            except rbd.ImageHasSnapshots:
                # Ceph looked at the time first: it may go.
                with rbd.Image(here, image_id=key) as opened:
                    children = [f"{one['pool']}/{one['image']}" for one in opened.list_children2()]
                    if children:
                        raise child.Refused(", ".join(children)) from None
                    for one in child.snapshots_of(opened):
                        if opened.is_protected_snap(one["name"]):
                            opened.unprotect_snap(one["name"])
                        opened.remove_snap(one["name"])
                self._rbd.trash_remove(here, key)


if __name__ == "__main__":
    child.main(Copies)
