"""What reading a ledger back costs, step by step: the bytes, decoding, folds, rows in SQLite; and the same elsewhere.

A million events are written through the real bus (`bench/history.py`), sealed into an archive, and put into `eventsourcing`'s
SQLite recorder and into UmaDB. Each step over each of them runs in a process of its own: what is done with an event is the
same code everywhere, only where its bytes come from differs. Then the archive is verified, and a rebuild over five million events
tells whether memory grows with the ledger. Prints a table and, as its last line, one JSON object.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench import history
from bench.processes import Clock
from bench.stores import Recorder, archive, fill_uma, opened, served_bus, served_uma
from events.envelope import read
from events.fold import Fold
from events.tlog.files import DirectoryFiles
from projections.keeper import TABLES
from replay.audit.verify import verifier_of, verify
from replay.history import fold
from replay.source import Source
from replay.views.rebuild import rebuild

EVENTS: Final = 1_000_000
LONG: Final = 5_000_000
STEPS: Final = ("read", "decode", "fold", "rows")
SERVER: Final = "server"
_YOUNG: Final = 50_000


@dataclass(frozen=True, slots=True)
class Took:
    """One step over one store, in a process of its own."""

    store: str
    step: str
    events: int
    seconds: float
    cpu_seconds: float
    rss_mib: float
    rows: int = 0
    server_us: float = 0.0

    @property
    def cpu_us(self) -> float:
        """Microseconds of the reading process's CPU for each event."""
        return self.cpu_seconds * 1e6 / self.events

    @property
    def per_second(self) -> float:
        """Events in a second of the clock."""
        return self.events / self.seconds


async def step(spec: str, name: str, events: int, directory: Path) -> Took:
    """One step over the store, in this process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
    rows = 0
    async with opened(spec) as source:
        began, began_cpu = time.perf_counter(), time.process_time()
        if name == "rows":
            rows = sum(
                one.rows for one in (await rebuild(source, directory / "views.db", until=events)).tables
            )
        elif name == "fold":
            folds: list[Fold] = [kind() for kind in dict.fromkeys(table.fold for table in TABLES)]
            assert await fold(source, folds, events) == events
        else:
            assert await _read(source, events, decode=name == "decode") == events
        took = time.perf_counter() - began, time.process_time() - began_cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Took(spec.partition("=")[0], name, events, *took, rss, rows)


async def _read(source: Source, events: int, *, decode: bool) -> int:
    seq = 0
    async for group in source.read(1, events):
        if decode:
            for stored in group:
                read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
        seq = group[-1].seq
    return seq


def checked(directory: Path, events: int) -> Took:
    """The archive was verified whole: every entry hashed, every tile, the root, the signature."""
    files = DirectoryFiles(directory)
    began, began_cpu = time.perf_counter(), time.process_time()
    verified = verify(files, verifier_of(files))
    took = time.perf_counter() - began, time.process_time() - began_cpu
    assert verified.ok, verified
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Took("archive", "verify", events, *took, rss)


def _child(spec: str, name: str, events: int, server: int | None = None) -> Took:
    """A step in a process of its own; it ends within the hour or not at all."""
    clock = Clock({SERVER: [server] if server is not None else []})
    done = subprocess.run(
        [sys.executable, "-m", "bench.steps", "--step", name, "--store", spec, "--events", str(events)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=3600,
        cwd=Path(__file__).parents[1],
    )
    took = msgspec.json.decode(done.stdout, type=Took)
    return replace(took, server_us=clock.lap(events)[SERVER])


async def measure(events: int, long: int, say: Callable[[str], None]) -> list[Took]:
    """All that is measured, over ledgers of so many events; some ten minutes for a million and five."""
    took: list[Took] = []

    async def steps(spec: str, server: int | None = None) -> None:
        for name in STEPS:
            took.append(await asyncio.to_thread(_child, spec, name, events, server))
            say(f"  {took[-1].store} {name}: {took[-1].per_second:,.0f}/s, {took[-1].cpu_us:.2f} us")

    with tempfile.TemporaryDirectory(prefix="vs-replay-") as place:
        directory = Path(place)
        async with AsyncExitStack() as held:
            bus, spec, pid = await held.enter_async_context(served_bus(directory))
            say(f"writing {events:,} events through the bus")
            messages = history.History().messages()
            await history.write(bus, events, messages)
            await steps(spec, pid)
            say("sealing them")
            async with opened(spec) as source:
                sealed = await archive(source, directory / "audit", events)
            await steps(sealed)
            took.append(await asyncio.to_thread(_child, sealed, "verify", events))
            if long > events:
                say(f"writing {long - events:,} more")
                await history.write(bus, long - events, messages)
                took.append(await asyncio.to_thread(_child, spec, "rows", long, pid))
        say("filling eventsourcing")
        Recorder(directory / "recorder.db").fill(history.History().messages(), events)
        await steps(f"eventsourcing={directory / 'recorder.db'}")
        with served_uma(directory / "uma") as (uma, uma_pid):
            say("filling UmaDB")
            await fill_uma(uma, events)
            await steps(uma, uma_pid)
    counted = {one.rows for one in took if one.step == "rows" and one.events == events}
    assert len(counted) == 1, f"the stores do not come to the same rows: {counted}"
    return took


def summary(took: list[Took], events: int) -> dict[str, object]:
    """The figures by the names under which they are reported."""

    def of(store: str, name: str) -> Took:
        return next(one for one in took if (one.store, one.step, one.events) == (store, name, events))

    long = max(took, key=lambda one: one.events)
    return {
        "events": events,
        "rebuild_events_per_s": round(of("bus", "rows").per_second),
        "rebuild_from_archive_events_per_s": round(of("archive", "rows").per_second),
        "cpu_ratio_to_fold": round(of("bus", "rows").cpu_us / of("bus", "fold").cpu_us, 2),
        "cpu_us": {name: round(of("bus", name).cpu_us, 2) for name in STEPS},
        "verify_events_per_s": round(of("archive", "verify").per_second),
        "rss_mib_1m": round(of("bus", "rows").rss_mib),
        "rss_mib_5m": round(long.rss_mib) if long.events > events else None,
        "long_events": long.events,
        "peers": {
            store: {
                name: {
                    "events_per_s": round(of(store, name).per_second),
                    "cpu_us": round(of(store, name).cpu_us, 2),
                    "server_us": round(of(store, name).server_us, 2),
                }
                for name in STEPS
            }
            for store in ("bus", "archive", "eventsourcing", "umadb")
        },
    }


def main() -> None:
    """Measures, prints the table, and the JSON line last; with `--step` one step alone, for the processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument(
        "--long", type=int, default=LONG, help="events of the ledger that memory is measured over"
    )
    parser.add_argument("--step", choices=[*STEPS, "verify"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if arguments.step == "verify":
            print(json.dumps(asdict(checked(Path(arguments.store.partition("=")[2]), arguments.events))))
        elif arguments.step:
            with tempfile.TemporaryDirectory(prefix="vs-step-") as place:
                done = runner.run(step(arguments.store, arguments.step, arguments.events, Path(place)))
            print(json.dumps(asdict(done)))
        else:
            load = os.getloadavg()[0]
            took = runner.run(measure(arguments.events, arguments.long, _say))
            _table(took)
            print(json.dumps({**summary(took, arguments.events), "load_at_start": round(load, 1)}))


def _table(took: list[Took]) -> None:
    print(
        f"{'':<16}{'':<8}{'events':>10}{'seconds':>9}{'per second':>12}{'CPU us':>8}{'server':>8}{'MiB':>6}{'rows':>10}"
    )
    for one in took:
        print(
            f"{one.store:<16}{one.step:<8}{one.events:>10}{one.seconds:>9.2f}{one.per_second:>12,.0f}"
            f"{one.cpu_us:>8.2f}{one.server_us:>8.2f}{one.rss_mib:>6.0f}{one.rows:>10}"
        )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
