"""Stories of single VMs, a line or two each: how the world is before, and what is asked then. A new flow is one more line."""

from collections.abc import Mapping
from typing import Any, Final

from tests.simulation.living import FOREIGN_BYTES
from tests.simulation.setting import DISK_BYTES, KEPT_POOL, MIB, SIZES
from tests.simulation.telling import Part, Story, Teller

MORE_BYTES: Final = DISK_BYTES + 16 * MIB


def asked(verb: str, **body: Any) -> Part:
    """That was asked, and is done."""
    return lambda teller: teller.ask(verb, **body)


def created(vm: str = "db", **terms: Any) -> Part:
    """There is a VM, and it runs unless something else is said."""
    return lambda teller: teller.create(vm, **terms)


def changed(change: str, **terms: Any) -> Part:
    """The VM was told to."""
    return lambda teller: teller.change(change, **terms)


def resized(**terms: Any) -> Part:
    """The VM is of another size."""
    return lambda teller: teller.resize(**terms)


def copied(copy: str, kind: str = "snapshot") -> Part:
    """There is a copy, and the guest went on writing."""

    async def part(teller: Teller) -> None:
        await teller.ask("copy", kind=kind, copy=copy, reason="because")
        teller.works()

    return part


def passed(**time: float) -> Part:
    """So much time went by."""
    return lambda teller: teller.later(**time)


async def woken(teller: Teller) -> None:
    """Somebody started the domain that is to be adopted."""
    for host in teller.stage.hosts:
        assert host.disks.shelf is not None
        host.disks.shelf.foreign[FORMER["disk"]].state = "running"


FORMER: Final[Mapping[str, Any]] = {
    "pool": KEPT_POOL,
    "host": "h1",
    "domain": "old-0",
    "uuid": "h1-old-0",
    "size": SIZES[0],
    "disk": "/h1/old-0.img",
    "disk_bytes": FOREIGN_BYTES,
    "reason": "because",
}
ADOPTED: Final = asked("adopt", **FORMER)

RUNS: Final = (created(),)
OFF: Final = (created(start=False),)
STOPPED: Final = (*RUNS, changed("stop"))
BACKUP: Final = copied("two", "backup")
DELETED: Final = asked("delete", reason="because")
SOFT: Final = (DELETED, passed(days=1))
HARD: Final = (*SOFT, passed(days=3))
PURGED: Final = (*HARD, passed(days=30))

STORIES: Final[Mapping[str, Story]] = {
    "create": Story((), created()),
    "create off": Story((), created(start=False)),
    "first start": Story(OFF, changed("start")),
    "start": Story(STOPPED, changed("start")),
    "stop": Story(RUNS, changed("stop")),
    "reboot": Story(RUNS, changed("reboot")),
    "resize": Story(RUNS, resized(size=SIZES[1])),
    "resize off": Story(STOPPED, resized(size=SIZES[1])),
    "plug": Story(RUNS, resized(size=SIZES[1], plug=True)),
    "grow": Story(RUNS, resized(disk_bytes=MORE_BYTES)),
    "grow off": Story(STOPPED, resized(disk_bytes=MORE_BYTES)),
    "grow and resize": Story(RUNS, resized(disk_bytes=MORE_BYTES, size=SIZES[1])),
    "announced resize": Story(RUNS, resized(size=SIZES[1], when="window")),
    "maintenance": Story((*RUNS, resized(size=SIZES[1], when="window")), passed(hours=12, minutes=1)),
    "protect": Story(RUNS, changed("protect")),
    "snapshot": Story(RUNS, copied("one")),
    "snapshot off": Story(STOPPED, copied("one")),
    "third snapshot": Story((*RUNS, copied("one"), copied("two")), copied("three")),
    "backup": Story(RUNS, BACKUP),
    "drop snapshot": Story((*RUNS, copied("one")), asked("drop", copy="one", reason="because")),
    "drop backup": Story((*RUNS, BACKUP), asked("drop", copy="two", reason="because")),
    "restore": Story((*RUNS, copied("one"), changed("stop")), asked("restore", copy="one", reason="because")),
    "restore into": Story(
        (*RUNS, copied("one")), asked("restore", copy="one", into="db-2", reason="because")
    ),
    "restore backup into": Story(
        (*RUNS, BACKUP), asked("restore", copy="two", into="db-2", reason="because")
    ),
    "start what was restored": Story(
        (*RUNS, BACKUP, asked("restore", copy="two", into="db-2", reason="because")),
        changed("start", vm="db-2"),
    ),
    "delete": Story(RUNS, DELETED),
    "soft": Story((*RUNS, DELETED), passed(days=1)),
    "hard": Story((*RUNS, copied("one"), BACKUP, *SOFT), passed(days=3)),
    "purge": Story((*RUNS, BACKUP, *HARD), passed(days=30)),
    "recycle": Story((*RUNS, *PURGED), passed(days=8)),
    "all stages at once": Story((*RUNS, copied("one"), BACKUP, DELETED), passed(days=50)),
    "delete one off": Story((*OFF, DELETED), passed(days=50)),
    "undelete": Story((*RUNS, DELETED), asked("undelete", reason="because")),
    "undelete after soft": Story((*RUNS, *SOFT), asked("undelete", reason="because")),
    "adopt": Story((), ADOPTED),
    "adopt one that runs": Story((woken,), asked("adopt", **FORMER)),
    "start what was adopted": Story((ADOPTED,), changed("start")),
    "delete what was adopted": Story((ADOPTED, changed("start"), DELETED), passed(days=50)),
    "deleted again": Story((*RUNS, DELETED, asked("undelete", reason="because")), DELETED),
    "the name again": Story((*RUNS, *PURGED, passed(days=8)), created()),
}
"""Each flow of kept VMs."""
