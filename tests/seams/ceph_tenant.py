"""One org's own client of a Ceph cluster, run by Debian's Python: it tries what it is told, and says how each try ended.

`/usr/bin/python3 -I ceph_tenant.py CONF USER KEY`; a line in is `["read", {"pool": ...}]`, a line out "done", "denied" or the
error's name. The connection stays open between lines.
"""

import errno
import json
import sys
from importlib import import_module
from typing import Any

rados, rbd = import_module("rados"), import_module("rbd")
SECONDS = 10
DENIED = (errno.EPERM, errno.EACCES)


def main() -> None:
    conf, user, key = sys.argv[1:]
    own = {"key": key, "keyring": "", "rados_osd_op_timeout": str(SECONDS)}
    cluster = rados.Rados(conffile=conf, name=user, conf=own)
    try:
        cluster.connect(timeout=SECONDS)
    except rados.Error as error:
        say(error)
        return
    print("connected", flush=True)
    tries = Tries(cluster)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            getattr(tries, name)(**arguments)
        except (rados.Error, rbd.Error) as error:
            say(error)
        else:
            print("done", flush=True)


def say(error: Any) -> None:
    print("denied" if abs(error.errno or 0) in DENIED else type(error).__name__, flush=True)


class Tries:
    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._open: Any = None
        self._image: Any = None

    def open(self, pool: str) -> None:
        """An object of the pool is written and read from here on, on the session that is open."""
        self._open = self._cluster.open_ioctx(pool)

    def again(self) -> None:
        self._open.write_full("note", b"mine")
        self._open.read("note")

    def read(self, pool: str) -> None:
        with self._cluster.open_ioctx(pool) as here:
            here.read("rbd_directory")

    def write(self, pool: str) -> None:
        with self._cluster.open_ioctx(pool) as here:
            here.write_full("note", b"mine")

    def image(self, pool: str, name: str) -> None:
        """Made, opened, written and snapshotted."""
        with self._cluster.open_ioctx(pool) as here:
            rbd.RBD().create(here, name, 8 << 20)
            with rbd.Image(here, name) as image:
                image.write(b"mine", 0)
                image.create_snap("one")

    def look(self, pool: str, name: str) -> None:
        with self._cluster.open_ioctx(pool) as here, rbd.Image(here, name, read_only=True) as image:
            image.read(0, 512)

    def scribble(self, pool: str, name: str) -> None:
        with self._cluster.open_ioctx(pool) as here, rbd.Image(here, name) as image:
            image.write(b"mine", 0)

    def hold(self, pool: str, name: str) -> None:
        """The image stays open, written to."""
        self._image = rbd.Image(self._cluster.open_ioctx(pool), name)
        self._image.write(b"mine", 0)

    def init(self, pool: str) -> None:
        with self._cluster.open_ioctx(pool) as here:
            rbd.RBD().pool_init(here, True)

    def command(self, **command: Any) -> None:
        code, _, text = self._cluster.mon_command(json.dumps(command), b"")
        if code:
            raise rados.Error(text, errno=-code)


if __name__ == "__main__":
    main()
