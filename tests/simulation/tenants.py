"""People who have VMs of their own: they make them, start, stop, reboot and resize them, and everything else, in no order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.simulation.clock import pause
from tests.simulation.load import Client
from tests.simulation.setting import DISK_BYTES, KEPT_POOL, MIB, SIZES

NAMES: Final = ("db", "queue", "web-9")
"""So few that everybody wants the same ones; the last is one that a pool which scales may give away."""

COPIES: Final = ("one", "two", "three")

Body = dict[str, Any]


@dataclass(slots=True)
class Tenant:
    """One publisher of one org, asking about kept VMs."""

    client: Client
    _number: int = 0

    async def keep_asking(self, until: float, mean_seconds: float) -> None:
        """Questions in no order, until the loop's time is `until`."""
        loop, rng = asyncio.get_running_loop(), self.client.chance.rng
        ways = [way for way, share in self._ways() for _ in range(share)]
        async with asyncio.TaskGroup() as questions:
            while loop.time() < until:
                await pause(rng.expovariate(1 / mean_seconds))
                for _ in range(rng.choice((1, 1, 1, 3))):
                    questions.create_task(self._ask(rng.choice(ways)))

    async def _ask(self, way: "Callable[[str], tuple[str, Body]]") -> None:
        rng = self.client.chance.rng
        self._number += 1
        verb, body = way(rng.choice(NAMES))
        body |= {"key": f"{self.client.publisher}-{self._number}", "actor": "kim", "wait": rng.random() < 0.3}
        if rng.random() < 0.1:
            await asyncio.gather(self.client.ask(verb, body), self.client.ask(verb, body))
        await self.client.ask(verb, body)

    def _ways(self) -> list[tuple[Callable[[str], tuple[str, Body]], int]]:
        return [
            (self._create, 8),
            (self._change, 12),
            (self._resize, 6),
            (self._grow, 2),
            (self._copy, 6),
            (self._drop, 2),
            (self._restore, 3),
            (self._delete, 3),
            (self._undelete, 2),
            (self._adopt, 2),
        ]

    def _create(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        body: Body = {"vm": vm, "pool": KEPT_POOL, "start": rng.random() < 0.7}
        if rng.random() < 0.3:
            body["size"] = rng.choice(SIZES)
        return "create", body

    def _change(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        change = rng.choice(("start", "start", "start", "stop", "reboot", "reboot", "protect", "unprotect"))
        return "change", {
            "vm": vm,
            "change": change,
            "reason": "because",
            "when": rng.choice(("now", "now", "window")),
        }

    def _resize(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        return "resize", {
            "vm": vm,
            "size": rng.choice(SIZES),
            "plug": rng.random() < 0.3,
            "when": rng.choice(("now", "now", "window")),
        }

    def _copy(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        body: Body = {"vm": vm, "kind": rng.choice(("snapshot", "snapshot", "backup")), "reason": "because"}
        if rng.random() < 0.8:
            body["copy"] = rng.choice(COPIES)
        return "copy", body

    def _adopt(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        host, number = rng.choice(("h1", "h2")), rng.randrange(3)
        return "adopt", {
            "vm": vm,
            "pool": KEPT_POOL,
            "host": host,
            "domain": f"old-{number}",
            "uuid": f"{host}-old-{number}",
            "size": SIZES[0],
            "disk": f"/{host}/old-{number}.img",
            "disk_bytes": 48 * MIB,
            "reason": "because",
        }

    def _drop(self, vm: str) -> tuple[str, Body]:
        return "drop", {"vm": vm, "copy": self.client.chance.rng.choice(COPIES), "reason": "because"}

    def _restore(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        into = rng.choice((None, *NAMES))
        return "restore", {"vm": vm, "copy": rng.choice(COPIES), "into": into, "reason": "because"}

    def _delete(self, vm: str) -> tuple[str, Body]:
        return "delete", {"vm": vm, "reason": "because"}

    def _undelete(self, vm: str) -> tuple[str, Body]:
        return "undelete", {"vm": vm, "start": self.client.chance.rng.random() < 0.7, "reason": "because"}

    def _grow(self, vm: str) -> tuple[str, Body]:
        rng = self.client.chance.rng
        return "resize", {"vm": vm, "disk_bytes": DISK_BYTES + rng.randrange(-1, 5) * 16 * MIB, "when": "now"}
