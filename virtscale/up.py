"""`virtscale up`: everything on this machine, in the foreground, until Ctrl-C."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import prometheus_client

from events.bus.ledger import Ledger
from projections.contracts.fold import Contracts
from projections.epochs.fold import Epochs
from projections.fleet.fold import Fleet
from projections.fleet.life import STAYING, State
from projections.usage.fold import Usage
from schemas.intake import Stock
from virtscale import crew
from virtscale.ask import publish
from virtscale.world import Ports, Substrate, World

_STOCK_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 30.0
_STATUS_SECONDS: Final = 1.0
_COMING: Final[frozenset[State]] = STAYING | frozenset[State]({"suspending"})
"""States of a VM on its way to sleep in stock."""

_NEXT: Final = """
Everything runs. In another terminal, in this directory:

  . .venv/bin/activate
  virtscale scale acme/web +2        wakes two VMs and shows the five steps
  virtscale scale acme/web +500      is refused: past the signed cap
  virtscale pools                    what there is
  virtscale ledger tail              what happened
  curl http://127.0.0.1:{port}/      what the pool serves

Ctrl-C here stops everything that was started, and nothing else."""


class Screen:
    """Lines with the seconds since the start, and on a terminal one status line below them."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._status = ""

    def say(self, text: str) -> None:
        """The line stands above the status line."""
        self._erase()
        sys.stdout.write(f"[{time.monotonic() - self._started:6.1f} s] {text}\n")
        self._draw()

    def plain(self, text: str) -> None:
        """The text as it is, above the status line."""
        self._erase()
        sys.stdout.write(text + "\n")
        self._draw()

    def status(self, text: str) -> None:
        """The status line says this; nothing where nobody looks."""
        self._erase()
        self._status = text
        self._draw()

    def _erase(self) -> None:
        if self._live:
            sys.stdout.write("\r\x1b[K")

    def _draw(self) -> None:
        if self._live:
            sys.stdout.write(self._status)
        sys.stdout.flush()


async def up(
    directory: Path,
    ports: Ports,
    substrate: Substrate,
    stock: int,
    hosts: int = 1,
    *,
    ceph: bool = False,
    movable_clock: bool = False,
) -> None:
    """The installation runs until SIGINT or SIGTERM; then everything that was started is gone."""
    screen = Screen()
    logging.basicConfig(
        level=logging.WARNING,
        filename=_log_file(directory),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    asked_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    life = asyncio.create_task(
        _live(
            World(
                directory,
                ports,
                substrate,
                screen.say,
                own_hosts=hosts,
                ceph=ceph,
                movable_clock=movable_clock,
            ),
            ports,
            stock,
            screen,
        )
    )
    asked = asyncio.create_task(asked_to_end.wait())
    await asyncio.wait({life, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not life.done():
        screen.status("")
        screen.say("stopping")
        life.cancel()
        try:
            await life
        except asyncio.CancelledError:
            screen.say("everything that was started is gone; the ledger stays in " + str(directory))
        return
    await life


def _log_file(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory / "virtscale.log"


async def _live(house: World, ports: Ports, stock: int, screen: Screen) -> None:
    async with house as world:
        exporter, _ = prometheus_client.start_http_server(ports.metrics, addr="127.0.0.1")
        try:
            async with asyncio.TaskGroup() as parts:
                ledgers: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
                parts.create_task(
                    crew.run(world.house, ledgers.set_result, arrivals=world.arrivals), name="crew"
                )
                parts.create_task(world.watch(), name="newcomers")
                ledger = await ledgers
                await world.enact(ledger.fold(Contracts))
                screen.say(f"{len(crew.WORKERS)} workers at work, ledger read to sequence {ledger.seq}")
                if not world.hypervisors:
                    screen.say(
                        "substrate test: libvirt's test driver has domains, but no guest runs in them and none serves"
                    )
                else:
                    await stocked(world, ledger, stock, screen.say)
                screen.plain(_NEXT.format(port=ports.traffic))
                await _show_status(ledger, screen)
        finally:
            exporter.shutdown()


async def stocked(world: World, ledger: Ledger, vms: int, say: Callable[[str], None]) -> None:
    """The pool `acme/web` holds its suspended VMs, or it is said why it holds fewer.

    Guests do not outlive their house: what the ledger last saw asleep is gone when a house starts again. So the
    request waits until the waker has said so of each, or it would be answered that nothing is missing.
    """
    fleet, epochs, began = ledger.fold(Fleet), ledger.fold(Epochs), ledger.seq

    def known() -> bool:
        return ("acme", "web") in fleet.pools and bool(fleet.hosts)

    def looked_at() -> bool:
        # A recovered ledger lets nothing grow before its hosts were compared with it.
        if any(epochs.awaits(host) for host in world.hypervisors):
            return False
        here = [vm for vm in fleet.vms.values() if vm.host in world.hypervisors]
        return all(vm.state == "stopped" or vm.since_seq > began for vm in here)

    if not await until(lambda: known() and looked_at(), ledger, _LOOK_SECONDS):
        say("the gate or the waker is slow; see virtscale.log")
    present = {place.name for place in world.house.hosts}
    for host in fleet.hosts.values():
        if host.name not in present and host.state != "removed":
            say(
                f"host {host.name} is in the ledger and not in this house: its VMs count until `virtscale host fence {host.name}`"
            )
    bus = await world.connect("operator")
    try:
        request = Stock(pool="web", key=f"up-{time.time_ns()}", vms=vms, wait=True)
        receipt = await publish(bus, "acme", request)
    finally:
        await bus.close()
    if receipt.outcome == "refused":
        say(f"{receipt.text} Fewer may fit: `virtscale up --stock {max(1, vms // 2)}`.")
        return
    shown = -1

    def asleep() -> bool:
        nonlocal shown
        count = len(fleet.members("acme", "web", "quiesced"))
        if count != shown:
            say(f"pool acme/web: {count} of {vms} VMs booted and suspended")
            shown = count
        return count >= vms or (count > 0 and fleet.count("acme", "web", _COMING) == 0)

    if not await until(asleep, ledger, _STOCK_SECONDS):
        say(f"the other VMs did not boot within {_STOCK_SECONDS:g} s: see `virtscale vms`")


async def until(condition: Callable[[], bool], ledger: Ledger, seconds: float) -> bool:
    """Whether the folds said so within the time."""
    bell = ledger.bell()
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await bell.wait(_STATUS_SECONDS)
    except TimeoutError:
        return False
    return True


async def _show_status(ledger: Ledger, screen: Screen) -> None:
    fleet, usage = ledger.fold(Fleet), ledger.fold(Usage)
    while True:
        pools = ", ".join(
            f"{org}/{pool} {len(fleet.members(org, pool, 'serving'))} serving, "
            f"{len(fleet.members(org, pool, 'quiesced'))} asleep"
            for org, pool in fleet.pools
        )
        orgs = ", ".join(
            f"{org} {usage.used(org).vcpu + usage.reserved(org).vcpu} of {contract.limit.vcpu} vCPU"
            for org, contract in usage.contracts.items()
        )
        screen.status(f"ledger {ledger.seq} | {pools} | {orgs} | Ctrl-C stops")
        await asyncio.sleep(_STATUS_SECONDS)
