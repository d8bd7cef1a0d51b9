"""From a changed metric to the request in the ledger: pushed by remote write, and polled. A real Prometheus and a real bus.

A trigger waits for two samples. `change` is from the exporter's new value to the stored request, with the scrapes that this takes;
`sample` from the scrape of the sample that set the trigger off, which is what L1 of an activation counts from. The last line is one
JSON object with medians and highest values in milliseconds.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.stage import Stage, a_stage
from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.clock import SystemClock
from events.envelope import Recorded
from events.ids import derive
from events.pool import PoolDefined
from events.scale import ScaleRequested
from lab.metrics import Metrics, Push, Target
from lab.ports import LOOPBACK, free_ports
from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from services.signal.prometheus import Prometheus
from services.signal.worker import Signal

ABOVE = 50.0
DEADLINE_SECONDS = 60.0
QUIET_SECONDS = 3.0
POOL = Pool(
    org="org-0",
    name="bench",
    size=Size("small", 1, 96),
    template="tiny",
    triggers=(Trigger("queue_depth", ABOVE, samples=2),),
    cooldown_seconds=1,
)


class Requests:
    """What triggers asked for, as it comes into the ledger."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[tuple[ScaleRequested, int]] = asyncio.Queue()

    def apply(self, recorded: Recorded) -> None:
        """Seen."""
        if isinstance(recorded.fact, ScaleRequested):
            self.seen.put_nowait((recorded.fact, recorded.stored_ns))


@dataclass
class Exporter:
    """One gauge, and when it was changed."""

    value: float = 0.0
    changed_ns: int = 0
    clients: set[asyncio.Task] = field(default_factory=set)

    def change(self, value: float) -> None:
        """From here on the gauge has this value."""
        self.value, self.changed_ns = value, time.time_ns()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One scrape."""
        while (await reader.readline()).strip():
            pass
        body = f"# TYPE queue_depth gauge\nqueue_depth {self.value}\n"
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def a_signal(
    stage: Stage, directory: Path, exporter: Exporter, *, pushes: bool
) -> AsyncGenerator[Requests]:
    """A signal worker that listens to a Prometheus, which pushes or is asked."""
    server = await asyncio.start_server(exporter.answer, LOOPBACK, 0)
    target = Target("bench", f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    port, door = free_ports(2)
    push = Push(f"http://{LOOPBACK}:{door}/api/v1/write", "queue_.*") if pushes else None
    metrics = Metrics(directory, port, [target], push=push)
    await metrics.start()
    bus, asked = await stage.connect("signal"), Prometheus(metrics.url)
    ledger = Ledger(bus)
    requests = ledger.fold(Requests)
    remote_write = f"{LOOPBACK}:{door}" if pushes else ""
    worker = Signal(ledger, bus, SystemClock(), asked, remote_write=remote_write)
    tasks = [asyncio.create_task(worker.work()), asyncio.create_task(ledger.follow())]
    try:
        yield requests
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asked.close()
        await bus.close()
        await metrics.stop()
        server.close()


async def trials(requests: Requests, exporter: Exporter, count: int) -> dict[str, list[float]]:
    """Milliseconds of each trial: from the change, and from the sample behind the request."""
    took: dict[str, list[float]] = {"change": [], "sample": []}
    for number in itertools.count():
        if len(took["change"]) == count:
            return took
        exporter.change(0.0)
        await asyncio.sleep(QUIET_SECONDS + number * 0.37 % 1)
        while not requests.seen.empty():
            requests.seen.get_nowait()
        exporter.change(100.0)
        async with asyncio.timeout(DEADLINE_SECONDS):
            asked, stored_ns = await requests.seen.get()
            while (
                asked.sample is None or asked.sample.value <= ABOVE
            ):  # set off by the slope of the one before
                asked, stored_ns = await requests.seen.get()
        sampled_ns = int(asked.sample.observed_at.timestamp() * 1e9)
        if sampled_ns > exporter.changed_ns:
            took["change"].append((stored_ns - exporter.changed_ns) / 1e6)
            took["sample"].append((stored_ns - sampled_ns) / 1e6)
    raise AssertionError


async def measure(count: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="vs-bench-") as name:
        directory = Path(name)
        async with a_stage(directory / "stage", []) as stage:
            gate = await stage.connect("gate")
            fact = PoolDefined(org=POOL.org, pool=POOL.name, definition=POOL)
            id_ = derive("bench", "pool")
            await Pen(gate, "gate", SystemClock()).record(fact, id=id_, cause=None, correlation=id_)
            await gate.close()
            for way in ("push", "poll"):
                exporter = Exporter()
                async with a_signal(stage, directory / way, exporter, pushes=way == "push") as requests:
                    await asyncio.sleep(8.0)  # Prometheus looks for the first time 5 s after its start
                    took = await trials(requests, exporter, count)
                for kind, values in took.items():
                    found[f"{way}_{kind}"] = {
                        "median_ms": round(statistics.median(values), 1),
                        "most_ms": round(max(values), 1),
                    }
                    sys.stdout.write(
                        f"{way}, from the {kind}: median {statistics.median(values):7.1f} ms, most {max(values):7.1f} ms "
                        f"of {len(values)}\n"
                    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.signal", description=__doc__)
    parser.add_argument("--trials", type=int, default=15)
    found = asyncio.run(measure(parser.parse_args().trials))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
