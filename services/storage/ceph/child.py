"""Speaks to a Ceph cluster for storage: one call a line in, its answer a line out, until the input ends.

Run by Debian's own Python, which alone has Ceph's binding: `/usr/bin/python3 -I child.py CONF USER`. It imports nothing of
ours, because that Python has nothing of ours. A line in is `["look", {"pool": ..., "image": ...}]`; a line out
`{"answer": ...}` or `{"error": "ImageNotFound", "errno": 2, "text": "..."}`. What a call promises is said in `rbd`.
"""

import json
import os
import struct
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

CONNECT_SECONDS = 20
CLONE_FORMAT = "2"
"""A snapshot can be given up while others lie over it; the former format would hold it for ever."""
ENOENT, EEXIST = 2, 17
CHANGED = (ENOENT, EEXIST, 34, 75)
"""What an object answers that is otherwise than we saw it: it is gone, it is there, its version is older or newer (ERANGE, EOVERFLOW)."""
MARK, CLAIM = "virtscale.making.", "virtscale.claim."
"""Objects beside an image: one as long as it is being made, with its maker's nonce; one from before that on, with the order for it."""
HEADER, ID = "rbd_header.", "rbd_id."
"""Begin the names of the objects that say what an image is, with its id after it, and which id it has, with its name."""
NOW = struct.pack("<Q", 2**64 - 2)
"""What Ceph calls the image itself, among its snapshots."""
DRAFT = ".part"
"""The end of the name, in the trash, of what was never whole."""
rados, rbd = import_module("rados"), import_module("rbd")


class Refused(Exception):
    """Something that Ceph itself would have done."""


class Taken(Exception):
    """Somebody else makes this image by now."""


class Calls:
    """Every public method is a call; its arguments are the line's."""

    def __init__(self, conf: str, user: str) -> None:
        self._cluster = rados.Rados(conffile=conf, name=user)
        self._cluster.conf_set("rbd_default_clone_format", CLONE_FORMAT)
        self._cluster.connect(timeout=CONNECT_SECONDS)
        self._rbd = rbd.RBD()

    # -------------------------------------------------------------------------------------------------------- images

    def look(self, pool: str, image: str) -> dict[str, Any] | None:
        """The image as it is; nothing where there is none, or one whose making was cut short."""
        try:
            with self._pool(pool) as here:
                if self._mark(here, image) is not None:
                    return None
                with rbd.Image(here, image, read_only=True) as opened:
                    return seen(opened)
        except (rbd.ImageNotFound, rados.ObjectNotFound):
            return None

    def size(self, pool: str, image: str) -> int:
        """How many bytes the image has, asked of the OSDs as every client does that opens it. That takes 0.6 ms, and to open it up to 10."""
        with self._pool(pool) as here:
            try:
                return size_of(here, _id_of(here, image))
            except rados.ObjectNotFound as error:
                raise rbd.ImageNotFound(f"{pool}/{image}", errno=ENOENT) from error

    def create(self, pool: str, image: str, size_bytes: int, parent: list[str] | None) -> dict[str, Any]:
        """There is an image of that name; grown only if it lies over what was asked for."""
        nonce = os.urandom(16).hex()
        found = self.look(pool, image)
        if found is None:
            with self._pool(pool) as here:
                found = self._begun(here, image, nonce)
                if found is None:
                    self._made(here, image, size_bytes, parent)
                    self._ended(here, image, nonce)
            found = found or self.look(pool, image)
        if found is not None and found["size_bytes"] < size_bytes and found["parent"] == parent:
            found = self.grow(pool, image, size_bytes)
        assert found is not None, image
        return found

    def grow(self, pool: str, image: str, size_bytes: int) -> dict[str, Any]:
        """The image has at least this size; Refused, with its size, where it is larger."""
        with self._image(pool, image) as opened:
            if opened.size() > size_bytes:
                raise Refused(str(opened.size()))
            if opened.size() < size_bytes:
                opened.resize(size_bytes)
            return seen(opened, own=1)

    def release(self, pool: str, image: str) -> dict[str, Any]:
        """Nobody who died holds the image; whoever did is blocked, should he live after all. Nothing is done while somebody watches it."""
        with self._image(pool, image) as opened:
            found = seen(opened, own=1)
            for one in opened.lock_get_owners() if not found["watchers"] else ():
                opened.lock_break(one["mode"], one["owner"])
            return found

    # ----------------------------------------------------------------------------------------------------- snapshots

    def snapshot(self, pool: str, image: str, name: str) -> dict[str, Any]:
        """There is a snapshot of that name; one that is there stays as it is."""
        with self._image(pool, image) as opened:
            with suppress(rbd.ImageExists):
                opened.create_snap(name)
            return next(one for one in snapshots_of(opened) if one["name"] == name)

    def protect(self, pool: str, image: str, name: str) -> None:
        """The snapshot cannot be removed by mistake."""
        with self._image(pool, image) as opened:
            if not opened.is_protected_snap(name):
                opened.protect_snap(name)

    def snapshots(self, pool: str, image: str) -> list[dict[str, Any]]:
        """The image's snapshots."""
        with self._image(pool, image, read_only=True) as opened:
            return snapshots_of(opened)

    def forget(self, pool: str, image: str, name: str) -> None:
        """There is no such snapshot."""
        with self._image(pool, image) as opened:
            if any(one["name"] == name for one in snapshots_of(opened)):
                opened.remove_snap(name)

    # --------------------------------------------------------------------------------------------------------- trash

    def trash(self, pool: str, image: str, guard_seconds: int) -> None:
        """The image is in the trash, and not to be removed for so long; a move that was cut short is gone on with."""
        with self._pool(pool) as here, suppress(rbd.ImageNotFound):
            self._rbd.trash_move(here, image, guard_seconds)

    def trashed(self, pool: str) -> list[dict[str, Any]]:
        """What is in the pool's trash."""
        with self._pool(pool) as here:
            listed = [one["id"] for one in self._rbd.trash_list(here) if not one["name"].endswith(DRAFT)]
            found = [self._rbd.trash_get(here, one) for one in listed]
        return [
            {"key": one["id"], "name": one["name"], "until": one["deferment_end_time"].timestamp()}
            for one in found
        ]

    def recover(self, pool: str, image: str, key: str) -> None:
        """The image is back, under this name; ImageExists where another has it."""
        found = self.look(pool, image)
        if found is not None and found["id"] != key:
            raise rbd.ImageExists(f"{pool}/{image}", errno=EEXIST)
        with self._pool(pool) as here, suppress(rbd.ImageNotFound):  # it is back already
            self._rbd.trash_restore(here, key, image)

    def claim(self, pool: str, image: str, order: str) -> bool:
        """Whether the image is that order's: it said so before, or there was none until now."""
        with self._pool(pool) as here:
            return self._claimed(here, pool, image, order)[0]

    def sweep(self, pool: str, image: str) -> None:
        """No image of that name is in the making, nor left of one; ImageBusy as long as its maker holds it, or did until a moment ago."""
        with self._pool(pool) as here:
            if self._mark(here, image) is not None:
                self._clear(here, image)
                here.remove_object(MARK + image)
            for one in [one for one in self._rbd.trash_list(here) if one["name"] == image + DRAFT]:
                self._rbd.trash_remove(here, one["id"])
            if self.look(pool, image) is None:
                with suppress(rados.ObjectNotFound):
                    here.remove_object(CLAIM + image)

    # ------------------------------------------------------------------------------------------------------- tenancy

    def monitors(self) -> list[str]:
        """Where each monitor answers, in its newer protocol."""
        found: list[str] = []
        for monitor in self.command({"prefix": "mon dump"})["mons"]:
            vector = {one["type"]: one["addr"] for one in monitor["public_addrs"]["addrvec"]}
            found.append(vector.get("v2") or vector["v1"])
        return found

    def fsid(self) -> str:
        """The cluster's own name."""
        return self._cluster.get_fsid()

    def init(self, pool: str) -> None:
        """The pool exists, and images can be in it."""
        if not self._cluster.pool_exists(pool):
            self.command({"prefix": "osd pool create", "pool": pool})
        self._cluster.wait_for_latest_osdmap()
        with self._pool(pool) as here:
            self._rbd.pool_init(here, True)  # "force": it may be one already

    def sessions(self, user: str) -> list[str]:
        """The addresses, each with its nonce, from which this user speaks to a monitor right now."""
        found: set[str] = set()
        for monitor in self.command({"prefix": "mon dump"})["mons"]:
            for one in self.command({"prefix": "sessions"}, target=monitor["name"]):
                if one.get("entity_name") == user or one.get("auth_handler", {}).get("entity_name") == user:
                    found.update(f"{at['addr']}/{at['nonce']}" for at in one["addrs"]["addrvec"])
        return sorted(found)

    def command(self, command: dict[str, Any], target: str | None = None) -> Any:
        """The monitor's answer to an administrator's command."""
        code, out, text = self._cluster.mon_command(
            json.dumps({"format": "json", **command}), b"", target=target
        )
        if code:
            kind = rados.ObjectNotFound if -code == ENOENT else rados.Error
            raise kind(f"{command['prefix']}: {text}", errno=-code)
        try:
            return json.loads(out) if out else None
        except ValueError:
            return out.decode()

    # --------------------------------------------------------------------------------------------------------- inside

    def _claimed(self, here: Any, pool: str, image: str, order: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether the image is that order's by now, and what it is."""
        mine = False
        with suppress(rados.ObjectNotFound):
            mine = here.read(CLAIM + image) == order.encode()
        found = self.look(pool, image)
        if found is None and not mine:
            here.write_full(CLAIM + image, order.encode())
        return mine or found is None, found

    def _begun(self, here: Any, image: str, nonce: str) -> dict[str, Any] | None:
        """As `Copies.begin`, for one who has looked and found none."""
        former, found = self._mark(here, image), None
        self._change(here, image, former, nonce)
        if former is not None:
            self._clear(here, image)
            return None
        with suppress(rbd.ImageNotFound), rbd.Image(here, image, read_only=True) as opened:
            found = seen(opened)  # another began and ended since we looked
        if found is not None:
            here.remove_object(MARK + image)
        return found

    def _made(self, here: Any, image: str, size_bytes: int, parent: list[str] | None) -> None:
        """The image that was begun is there; where what it is to lie over is not, nothing is begun."""
        try:
            if parent is None:
                self._rbd.create(here, image, size_bytes, old_format=False)
            else:
                with self._pool(parent[0]) as there:
                    self._rbd.clone(there, parent[1], parent[2], here, image)
        except (rbd.ImageNotFound, rados.ObjectNotFound):
            here.remove_object(MARK + image)
            raise

    def _ended(self, here: Any, image: str, nonce: str) -> None:
        """The image that was begun is whole; Taken where it is another's."""
        mark = self._mark(here, image)
        if mark is None or mark[1] != nonce:
            raise _taken(image)
        self._change(here, image, mark, None)

    def _mark(self, here: Any, image: str) -> tuple[int, str] | None:
        """The mark's version and the nonce in it."""
        try:
            nonce: bytes = here.read(MARK + image)
        except rados.ObjectNotFound:
            return None
        return here.get_last_version(), nonce.decode()

    def _change(self, here: Any, image: str, former: tuple[int, str] | None, nonce: str | None) -> None:
        """The mark is of this nonce, or gone, if it was as we saw it right up to now; Taken otherwise."""
        change = here.create_write_op()
        try:
            if former is None:
                change.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            else:
                change.assert_version(former[0])
            if nonce is None:
                change.remove()
            else:
                change.write_full(nonce.encode())
            here.operate_write_op(change, MARK + image)
        except rados.Error as error:
            if abs(error.errno or 0) in CHANGED:
                raise _taken(image) from error
            raise
        finally:
            here.release_write_op(change)

    def _clear(self, here: Any, image: str) -> None:
        """There is no such image. One whose maker died a moment ago is held for him for some seconds: it goes into the trash under
        another name, and from there at a later call.
        """
        try:
            self._rbd.remove(here, image)
        except rbd.ImageNotFound:
            pass  # that is what is wanted
        except rbd.ImageBusy:
            self._rbd.rename(here, image, image + DRAFT)
            self._rbd.trash_move(here, image + DRAFT, 0)
        for one in list(self._rbd.trash_list(here)):
            if one["name"].endswith(DRAFT):
                with suppress(rbd.Error):  # it is held still
                    self._rbd.trash_remove(here, one["id"])

    @contextmanager
    def _pool(self, pool: str) -> Generator[Any]:
        opened = self._cluster.open_ioctx(pool)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def _image(self, pool: str, image: str, *, read_only: bool = False) -> Generator[Any]:
        with self._pool(pool) as here, rbd.Image(here, image, read_only=read_only) as opened:
            yield opened


def asked(here: Any, image: str, method: str) -> bytes:
    """The OSD's answer about the image with this id, as it is now, by a call of class `rbd`."""
    return here.execute(HEADER + image, "rbd", method, NOW)[1]


def size_of(here: Any, image: str) -> int:
    """In bytes; it comes with the binary logarithm of an object's size before it."""
    return struct.unpack_from("<BQ", asked(here, image, "get_size"))[1]


def _id_of(here: Any, image: str) -> str:
    """What no other image has, nor a later one of that name. It comes with its length before it."""
    return here.execute(ID + image, "rbd", "get_id", b"")[1][4:].decode()


def seen(image: Any, own: int = 0) -> dict[str, Any]:
    """The image as it is. `own`: whoever has it open for writing watches it, we included."""
    watchers = [one["addr"] for one in image.watchers_list()]
    return {
        "size_bytes": image.size(),
        "parent": parent_of(image),
        "watchers": len(watchers) - own,
        "id": image.id(),
    }


def _taken(image: str) -> Taken:
    return Taken(
        f"Somebody else began to make the image {image} anew, and it is not ours any more. Ask again."
    )


def parent_of(image: Any) -> list[str] | None:
    """What it lies over: pool, image and snapshot."""
    try:
        return list(image.parent_info())
    except rbd.ImageNotFound:
        return None


def snapshots_of(image: Any) -> list[dict[str, Any]]:
    """Those that have a name: not the ones that only wait for the last image over them."""
    return [
        {
            "name": one["name"],
            "taken_at": image.get_snap_timestamp(one["id"]).timestamp(),
            "size_bytes": one["size"],
        }
        for one in image.list_snaps()
        if one["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER
    ]


def main(kind: Callable[[str, str], object] = Calls) -> None:
    """Every line of the input is answered by one line."""
    calls = kind(sys.argv[1], sys.argv[2])
    for line in sys.stdin:
        name, arguments = json.loads(line)
        call: Callable[..., Any] = getattr(calls, name)
        try:
            said: dict[str, Any] = {"answer": call(**arguments)}
        except (Refused, Taken) as error:
            said = {"error": type(error).__name__, "errno": 0, "text": str(error)}
        except (rados.Error, rbd.Error) as error:
            said = {"error": type(error).__name__, "errno": abs(error.errno or 0), "text": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
