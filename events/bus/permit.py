"""The sealer's permit, without which nobody appends: a writer must know that what it sees has been seen before.

A bus that was restarted on an older copy of its store takes new events in the places of old ones, and tells nobody.
The sealer compares the store with what it signed before it says, twice a second, that one may append to it. A permit
is good for one server process alone, since every restart has a server id of its own, and for a few seconds.

A permit does not say when it was said, and the clocks of two machines differ: it counts from when it is heard. A process
that was stopped for a while reads all at once what came meanwhile, and the sealer may have died since. So after a
silence longer than a permit is good for one waits for a second, and how far the two are apart tells.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from events.bus.port import AnotherLedgerError, Grant, UnpermittedError

EVERY_SECONDS: Final = 0.5
APART_SECONDS: Final = EVERY_SECONDS / 2
"""Two permits that are heard closer to each other were not said one after the other just now: they waited somewhere."""


class Permits:
    """What one connection has heard of the sealer: whether it may append now.

    `seconds` is how old a permit may be, by the clock of the event loop; `server` gives the id of the server that the
    connection is with. The trap: whoever was stopped for less than that takes a permit that waited for him as new, and so
    appends up to twice as long after the sealer's death; and the clock stands still in a machine that is suspended.
    """

    def __init__(self, seconds: float, server: Callable[[], str]) -> None:
        self.seconds = seconds
        self._server = server
        self._grant: Grant | None = None
        self._heard_at = 0.0
        self._doubtful = False
        """There was a silence, and nothing heard since shows that it was said just now."""
        self._heard = asyncio.Event()
        self._replaced: AnotherLedgerError | None = None

    def hear(self, payload: bytes) -> None:
        """The sealer's word has come; `msgspec.DecodeError` for what is no grant, which counts for nothing."""
        grant = msgspec.json.decode(payload, type=Grant)
        if self._grant is not None and grant.created != self._grant.created:
            self._replaced = replaced(self._grant.created, grant.created)
        else:
            now = asyncio.get_running_loop().time()
            if self._grant is not None:
                apart = now - self._heard_at
                self._doubtful = apart > self.seconds or (self._doubtful and apart < APART_SECONDS)
            self._grant, self._heard_at = grant, now
        self._heard.set()

    @property
    def fresh(self) -> bool:
        """Whether one may append now, on this very connection; `AnotherLedger` when this process never may again."""
        if self._replaced is not None:
            raise self._replaced
        grant = self._grant
        return (
            grant is not None
            and not self._doubtful
            and grant.server == self._server()
            and asyncio.get_running_loop().time() - self._heard_at <= self.seconds
        )

    async def wait(self) -> None:
        """The sealer has said something new."""
        self._heard.clear()
        await self._heard.wait()

    def missing(self, name: str, subject: str) -> UnpermittedError:
        """Why nothing was sent."""
        if self._grant is None:
            said = "the sealer has said nothing yet"
        elif self._grant.server != self._server():
            said = "the bus was restarted, and the sealer has not compared its store since"
        elif self._doubtful and asyncio.get_running_loop().time() - self._heard_at <= self.seconds:
            said = f"the sealer was silent for more than {self.seconds:g} s, and may have said long ago what was heard since"
        else:
            said = f"the sealer has been silent for more than {self.seconds:g} s"
        return UnpermittedError(
            f"{name} sent nothing on {subject}: {said}. Look at the sealer: without it nobody appends."
        )


def replaced(known: str, new: str) -> AnotherLedgerError:
    """What a process says that finds a stream of another time of making than the one it has read."""
    return AnotherLedgerError(
        f"The bus holds another ledger, made {new}, than the one of {known} that this process has "
        "read. It writes nothing more; start it again, and it reads all that came before."
    )
