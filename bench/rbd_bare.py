"""Ceph's own binding and nothing else, for bench/volumes.py and bench/lifecycle.py: a line in says what, a line out how many milliseconds it took.

Run by Debian's Python: `/usr/bin/python3 -I rbd_bare.py CONF POOL TEMPLATE_POOL TEMPLATE SNAPSHOT`.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

rados, rbd = import_module("rados"), import_module("rbd")


def main() -> None:
    """Each line is done once, and timed."""
    conf, pool, template_pool, template, snapshot = sys.argv[1:]
    cluster = rados.Rados(conffile=conf, name="client.admin")
    cluster.conf_set("rbd_default_clone_format", "2")
    cluster.connect(timeout=20)
    here, there, images = cluster.open_ioctx(pool), cluster.open_ioctx(template_pool), rbd.RBD()

    def opened(name: str, do: Callable[[Any], None]) -> None:
        with rbd.Image(here, name) as image:
            do(image)

    calls: dict[str, Callable[[dict[str, Any]], object]] = {
        "create": lambda of: images.clone(there, template, snapshot, here, of["name"]),
        "look": lambda of: opened(of["name"], lambda image: image.size()),
        "grow": lambda of: opened(of["name"], lambda image: image.resize(of["size"])),
        "snapshot": lambda of: opened(of["name"], lambda image: image.create_snap(of.get("as", "one"))),
        "restore": lambda of: opened(of["name"], lambda image: image.rollback_to_snap(of.get("as", "one"))),
        "clone": lambda of: images.clone(here, of["name"], of.get("as", "one"), here, of["to"]),
        "flatten": lambda of: opened(of["name"], lambda image: image.flatten()),
        "trash": lambda of: images.trash_move(here, of["name"], 0),
        "recover": lambda of: images.trash_restore(here, images_id(of["name"]), of["name"]),
    }

    def images_id(name: str) -> str:
        return next(one["id"] for one in images.trash_list(here) if one["name"] == name)

    for line in sys.stdin:
        what, of = json.loads(line)
        began = time.perf_counter()
        calls[what](of)
        print(1000 * (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
