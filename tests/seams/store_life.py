"""Lives of a driver of volumes that end in the middle of a call: `python -m tests.seams.store_life PLACE`.

A line in says which driver, which call, and after how many seconds its process is dead; a line out says "killed" or "done". Each life
is a fork of this process, which has imported everything and connected to nothing.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from events.clock import SystemClock
from schemas.house import HostPlace
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.rbd import Rbd
from services.storage.files.directory import Directory
from services.storage.volumes import Copy, Store, Trashed, Volume


class Place(msgspec.Struct):
    """Where the drivers work."""

    host: HostPlace
    templates: str
    conf: str


class Life(msgspec.Struct):
    """One call, and how much time it has. `volume` is what is looked at before, so that the driver is awake."""

    kind: str
    call: str
    volume: Volume
    arguments: list[object]
    kinds: list[str]
    """What each argument is: volume, trashed, copy, path or plain."""
    seconds: float


KINDS = {"volume": Volume, "trashed": Trashed, "copy": Copy, "path": Path, "plain": Any}


def argument(kind: str, value: object) -> object:
    return msgspec.convert(value, KINDS[kind], dec_hook=lambda of, given: of(given))


async def live(place: Place, life: Life) -> None:
    templates = Path(place.templates)
    store: Store = (
        Directory(place.host, templates, SystemClock())
        if life.kind == "qcow2"
        else Rbd(place.host, templates, Cluster(Path(place.conf)))
    )
    await store.look(life.volume)
    call = getattr(store, life.call)
    arguments = [argument(kind, value) for kind, value in zip(life.kinds, life.arguments, strict=True)]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if life.seconds:
        signal.setitimer(signal.ITIMER_REAL, life.seconds)
    await call(*arguments)
    signal.setitimer(signal.ITIMER_REAL, 0)
    await store.close()


def main() -> None:
    place = msgspec.json.decode(sys.argv[1], type=Place)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(live(place, msgspec.json.decode(line, type=Life)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.waitstatus_to_exitcode(status)
        print({0: "done", -signal.SIGALRM: "killed"}.get(ended, str(ended)), flush=True)


if __name__ == "__main__":
    main()
