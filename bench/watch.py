"""Another connection's eye on the ledger: when each decision could be read by somebody who is not the gate."""

import asyncio
import time
from dataclasses import dataclass

import msgspec

from events.bus.port import Bus


class _Answer(msgspec.Struct):
    request: str
    request_seq: int
    outcome: str


class _Decided(msgspec.Struct):
    answers: tuple[_Answer, ...]


class _Line(msgspec.Struct):
    data: _Decided


@dataclass(frozen=True, slots=True)
class Seen:
    """One decision on one request, in Unix nanoseconds: when the request was stored, when its answer was readable."""

    stored_ns: int
    readable_ns: int
    outcome: str


class Watch:
    """Reads along and tells whoever asked."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lines = msgspec.json.Decoder(_Line)
        self._stored: dict[int, int] = {}
        self._awaited: dict[str, asyncio.Future[Seen]] = {}
        self.rounds = 0
        """Decisions read; each may answer many requests."""
        self.decision = b""
        """The bytes of the last decision that answered something."""
        self.seq = 0

    def expect(self, request: str) -> asyncio.Future[Seen]:
        """When the request's decision will have been read; asked for before the request is made."""
        seen = self._awaited[request] = asyncio.get_running_loop().create_future()
        return seen

    async def follow(self, after: int) -> None:
        """Reads for ever what is stored after sequence `after`."""
        async for group in self._bus.tail(after):
            now_ns = time.time_ns()
            for stored in group:
                if stored.seq <= self.seq:
                    continue
                self.seq = stored.seq
                if stored.subject.endswith(".scale.requested"):
                    self._stored[stored.seq] = stored.stored_ns
                elif stored.subject.endswith(".gate.decided"):
                    self._read(stored.payload, now_ns)

    def _read(self, payload: bytes, now_ns: int) -> None:
        self.rounds += 1
        for answer in self._lines.decode(payload).data.answers:
            self.decision = payload
            awaited = self._awaited.pop(answer.request, None)
            if awaited is not None and not awaited.done():
                awaited.set_result(Seen(self._stored.pop(answer.request_seq), now_ns, answer.outcome))
