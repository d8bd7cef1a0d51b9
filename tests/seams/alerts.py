"""Alerts and silences of a real Alertmanager, by its own API, and servers that are none."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import httpx

from events.clock import SystemClock
from lab.ports import LOOPBACK
from services.deleter.alertmanager import Alertmanager
from services.deleter.port import Silence

HOUR: Final = dt.timedelta(hours=1)
Speaks = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def now() -> dt.datetime:
    return SystemClock().now()


def wanted(begins_at: dt.datetime, *, vm: str = "db", deletion: str = "d" * 32) -> Silence:
    return Silence(
        "acme", vm, deletion, begins_at, begins_at + 38 * 24 * HOUR, "virtscale", f"acme/{vm} is deleted"
    )


async def alert(http: httpx.AsyncClient, **labels: str) -> None:
    """An alert fires that has these labels."""
    answer = await http.post("/api/v2/alerts", json=[{"labels": {"alertname": "Down", **labels}}])
    answer.raise_for_status()


async def states(http: httpx.AsyncClient) -> dict[str, str]:
    """Whether the alert of each VM is active or suppressed, by `org/vm`."""
    answer = await http.get("/api/v2/alerts")
    answer.raise_for_status()
    return {
        f"{one['labels'].get('org', '')}/{one['labels'].get('vm', '')}": one["status"]["state"]
        for one in answer.json()
    }


async def silence(
    http: httpx.AsyncClient, begins_at: dt.datetime, *, comment: str = "by hand", **labels: str
) -> str:
    """The id of a silence of an hour that somebody set by hand."""
    answer = await http.post(
        "/api/v2/silences",
        json={
            "matchers": [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()],
            "startsAt": begins_at.isoformat(),
            "endsAt": (begins_at + dt.timedelta(hours=1)).isoformat(),
            "createdBy": "somebody",
            "comment": comment,
        },
    )
    answer.raise_for_status()
    return answer.json()["silenceID"]


async def listed(http: httpx.AsyncClient) -> dict[str, str]:
    """The state of every silence, by its id."""
    answer = await http.get("/api/v2/silences")
    answer.raise_for_status()
    return {one["id"]: one["status"]["state"] for one in answer.json()}


@asynccontextmanager
async def speaking(speaks: Speaks, *, seconds: float = 2.0) -> AsyncGenerator[Alertmanager]:
    """The port to a server of another kind."""

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await speaks(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(hear, LOOPBACK, 0)
    port = Alertmanager(f"http://{LOOPBACK}:{listening.sockets[0].getsockname()[1]}", seconds)
    yield port
    await port.close()
    listening.close()
