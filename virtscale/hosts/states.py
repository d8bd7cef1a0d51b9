"""`virtscale host list`, `admit` and `fence`: how hosts are, and what a person says of them."""

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from events.bus.port import Bus, BusError
from events.envelope import read
from schemas import alive
from schemas.alive import Alive
from schemas.house import House
from schemas.intake import Change, ChangeHost
from schemas.names import OPERATOR, PLATFORM
from virtscale import views
from virtscale.amounts import said
from virtscale.ask import new_key, operator
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE
from virtscale.freezes.standing import actor_of, checked
from virtscale.ruled import Ruled, ruled
from virtscale.show import Format, say, show

_ALIVE_SECONDS: Final = 1.0
"""A waker answers in a millisecond; one that hangs is as good as silent."""

_COUNTING: Final = (
    "SELECT org, vm, state, vcpu, memory_mib FROM vms WHERE host = ? AND reservation IS NOT NULL"
)
"""VMs that count although nobody may know how they are."""


def show_hosts(house: House, form: Format) -> int:
    """The hosts, and whether each one's waker is there; the exit code."""
    with views.opened(Path(house.directory)) as base:
        rows = base.rows(views.HOSTS)
    words = asyncio.run(_wakers(house, [str(row["host"]) for row in rows]))
    show([{**row, "waker": words[str(row["host"])]} for row in rows], form, columns=_COLUMNS)
    return EXIT_DONE


_COLUMNS: Final = [
    "host",
    "state",
    "awake",
    "asleep",
    "saved",
    "free_mib",
    "memory_mib",
    "substrate",
    "waker",
    "uri",
]


async def _wakers(house: House, hosts: list[str]) -> dict[str, str]:
    async with operator(house) as bus:
        words = await asyncio.gather(*(_waker(bus, host) for host in hosts))
    return dict(zip(hosts, words, strict=True))


async def _waker(bus: Bus, host: str) -> str:
    """What a person is told of the host's waker."""
    try:
        answer = await bus.ask(alive.subject(host, OPERATOR), b"", _ALIVE_SECONDS)
        life = msgspec.json.decode(answer, type=Alive)
    except (BusError, msgspec.MsgspecError):
        return await _silence(bus, host)
    return "works" if life.connected else f"libvirt silent since {said(life.since)}"


async def _silence(bus: Bus, host: str) -> str:
    """A waker that does not answer was last heard when it last wrote something down."""
    try:
        last = await bus.last_on(f"vs.*.waker-{host}.>")
    except BusError:
        last = None
    if last is None:
        return "silent"
    return f"silent since {said(read(last.seq, last.stored_ns, last.payload).stored_at)}"


def change(house: House, name: str, what: Change, reason: str, actor: str | None) -> Ruled:
    """The gate's answer to a change of the host."""
    request = ChangeHost(key=new_key(), host=name, change=what, actor=actor_of(actor), reason=checked(reason))
    return asyncio.run(ruled(house, PLATFORM, request))


def admit(house: House, name: str, reason: str, actor: str | None) -> int:
    """The host may carry VMs again; the exit code."""
    done = change(house, name, "admit", reason, actor)
    say(f"Host {name} carries VMs again." if done.answer.outcome == "admitted" else f"{name}: {done.text}")
    return done.exit_code


def fence(house: House, name: str, reason: str, actor: str | None, *, yes: bool) -> int:
    """The host is declared dead and what its VMs count is released, if the person is sure; the exit code."""
    with views.opened(Path(house.directory)) as base:
        known = [row for row in base.rows(views.HOSTS) if row["host"] == name]
        counting = base.rows(_COUNTING, (name,))
    if not known:
        say(f"There is no host {name}: `virtscale host list` names them all. Nothing was done.")
        return EXIT_NOT_FOUND
    say(_released(name, counting))
    if not yes:
        say(
            f"Nothing was done. Make sure that nothing runs on {name} any more (its power is off), then repeat this with "
            "--yes. If it lives after all, each of its guests counts again as soon as its waker sees it."
        )
        return EXIT_USAGE
    done = change(house, name, "fence", reason, actor)
    say(f"Host {name} is fenced." if done.answer.outcome == "admitted" else f"{name}: {done.text}")
    return done.exit_code


def _released(name: str, counting: list[views.Row]) -> str:
    if not counting:
        return f"No VM counts on host {name}: fencing it releases nothing."
    per_org: dict[str, list[views.Row]] = {}
    for row in counting:
        per_org.setdefault(str(row["org"]), []).append(row)
    parts: list[str] = []
    for org, rows in per_org.items():
        vcpu, memory_mib = (sum(int(row[column] or 0) for row in rows) for column in ("vcpu", "memory_mib"))
        names = ", ".join(f"{row['vm']} {row['state']}" for row in rows)
        parts.append(f"{org}: {vcpu} vCPU and {memory_mib} MiB of {len(rows)} VMs ({names})")
    return f"Fencing {name} releases {'; '.join(parts)}."
