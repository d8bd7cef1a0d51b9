"""One worker in a process of its own: what every `python -m services.NAME` has in common."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import msgspec
import prometheus_client
import uvloop

from events.bus import heap, mark
from events.bus.entrance import connect_as
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock, clock_of
from events.registry import ROWS
from schemas.house import USUAL, VARIABLE, House, HouseError, load

Work = Callable[[House, Ledger, Bus, Clock], Awaitable[None]]

log = logging.getLogger("virtscale.alone")


class _Ended(Exception):
    """The worker came to its end by itself."""


def run_alone(writer: str, work: Work, *, reads: bool = True) -> None:
    """The worker ran until it was asked to end; exits 0 then, and 1 with one sentence when it cannot go on.

    `work` is called once, connected as `writer` and before the reading of the ledger begins: it must make its
    worker, and with it every fold, before it first awaits. A writer that each host has one of is told its host by
    `--host` (needed when the house has several), connects as `<writer>-<host>` and is given a house with
    that host alone. One that has no fold does without the reader (`reads`): nothing that it cannot decode stops it.
    """
    arguments = _arguments(writer)
    stopped: list[BaseException] = []
    logging.basicConfig(
        level=arguments.log.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # two lines for every look at a metric otherwise
    try:
        house = load(Path(arguments.house).resolve())
        name = writer
        if _per_host(writer):
            house = _on_one_host(house, arguments.host)
            name = f"{writer}-{house.hosts[0].name}"
        if arguments.metrics_port:
            prometheus_client.start_http_server(arguments.metrics_port, addr="127.0.0.1")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(house, name, work, reads=reads))
    except* Exception as errors:  # noqa: BLE001 - whatever ends a worker is told, and nothing goes on after it
        stopped = leaves(errors)
    for error in stopped:
        if isinstance(error, OSError) or isinstance(getattr(error, "code", None), str):
            sys.stderr.write(f"{writer} stopped: {error}\n")
        else:  # none of the house's own errors, so none of its sentences says enough
            log.error("%s stopped by an error nobody foresaw", writer, exc_info=error)
    if stopped:
        sys.exit(1)


class _Arguments(argparse.Namespace):
    house: str
    host: str
    log: str
    metrics_port: int


def _arguments(writer: str) -> _Arguments:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{writer}",
        description=f"Run the worker {writer} alone, until SIGTERM or Ctrl-C.",
    )
    parser.add_argument(
        "--house",
        default=os.environ.get(VARIABLE, USUAL),
        help=f"the house's directory (${VARIABLE}; else {USUAL})",
    )
    parser.add_argument("--log", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--metrics-port", type=int, default=0, help="serve the worker's own metrics on this loopback port"
    )
    parser.add_argument(
        "--host", default="", help="the host whose worker this is" if _per_host(writer) else argparse.SUPPRESS
    )
    return parser.parse_args(namespace=_Arguments())


def _per_host(writer: str) -> bool:
    return any(row.per_host for row in ROWS if row.writer == writer)


def _on_one_host(house: House, name: str) -> House:
    names = ", ".join(host.name for host in house.hosts)
    chosen = tuple(host for host in house.hosts if host.name == name or not name)
    if len(chosen) != 1:
        raise HouseError(f"The house has the hosts {names}: name the one with `--host`.")
    return msgspec.structs.replace(house, hosts=chosen)


async def _run(house: House, name: str, work: Work, *, reads: bool) -> None:
    """The worker's life, from its connection to the first SIGTERM or SIGINT."""
    loop, life = asyncio.get_running_loop(), asyncio.current_task()
    assert life is not None
    asked_to_end = False

    def end() -> None:
        nonlocal asked_to_end
        if not asked_to_end:
            asked_to_end = True
            life.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        await _live(house, name, work, reads=reads)
    except asyncio.CancelledError:
        if not asked_to_end:
            raise
        log.info("%s ended as it was asked to", name)


async def _live(house: House, name: str, work: Work, *, reads: bool) -> None:
    bus = await connect_as(house, name, log.warning)
    try:
        ledger, place = Ledger(bus), mark.path_of(house.marks, name)
        await mark.compare(bus, place)
        async with asyncio.TaskGroup() as parts:
            # In this order: the folds are made before the first event is read.
            parts.create_task(_finish(work(house, ledger, bus, clock_of(house.clock))), name=name)
            if reads:
                parts.create_task(ledger.follow(), name=f"{name}: ledger")
                parts.create_task(heap.settle(ledger), name=f"{name}: heap")
                parts.create_task(mark.keep(ledger, place), name=f"{name}: mark")
    except* _Ended:
        log.info("%s has nothing more to do", name)
    finally:
        await bus.close()


async def _finish(working: Awaitable[None]) -> None:
    await working
    raise _Ended


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors of a group and of the groups within it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found.extend(leaves(cast("BaseExceptionGroup[BaseException]", error)))
        else:
            found.append(error)
    return found
