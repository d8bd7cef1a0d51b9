"""Asking the house for something, and hearing what it writes down."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from events.bus.entrance import connect_as
from events.bus.port import Bus
from events.envelope import Recorded, read
from schemas.house import House
from schemas.intake import VERBS, Receipt, Rejection, Request
from virtscale.exits import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE
from virtscale.show import say

_EXITS: Final = {
    "HostUnknown": EXIT_NOT_FOUND,
    "OrgUnknown": EXIT_NOT_FOUND,
    "ImageUnknown": EXIT_NOT_FOUND,
    "PoolUnknown": EXIT_NOT_FOUND,
    "VmUnknown": EXIT_NOT_FOUND,
    "LedgerFull": EXIT_FAILED,
    "Overloaded": EXIT_FAILED,
    "TooManyRequests": EXIT_FAILED,
}
"""What was wrong where the request itself was not; any other no of the intake is about how it was asked."""

_ANSWER_SECONDS: Final = 10.0

_VERBS: Final[dict[type[Request], str]] = {request: verb for verb, request in VERBS.items()}


class TurnedAwayError(Exception):
    """The intake did not take the request; `exit_code` says what kind of no it was."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.text)
        self.code = rejection.code
        self.exit_code = _EXITS.get(rejection.code, EXIT_USAGE)


def new_key() -> str:
    """An idempotency key for one call of the command: repeating the command asks again."""
    return secrets.token_hex(8)


@asynccontextmanager
async def operator(house: House) -> AsyncGenerator[Bus]:
    """A connection to the bus as the operator."""
    bus = await connect_as(house, "operator", say)
    try:
        yield bus
    finally:
        await bus.close()


async def publish(bus: Bus, org: str, request: Request) -> Receipt:
    """The request is in the ledger; `TurnedAwayError` when the intake refused it."""
    answer = await bus.ask(
        f"in.{org}.operator.{_VERBS[type(request)]}", msgspec.json.encode(request), _ANSWER_SECONDS
    )
    reply = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
    if "seq" in reply:
        return msgspec.json.decode(answer, type=Receipt)
    raise TurnedAwayError(msgspec.json.decode(answer, type=Rejection))


async def events_after(bus: Bus, seq: int) -> AsyncGenerator[Recorded]:
    """Every event after a sequence, once and in order."""
    async for group in bus.tail(seq):
        for stored in group:
            if stored.seq > seq + 1:
                for missed in await bus.read(seq + 1, stored.seq - 1):
                    yield read(missed.seq, missed.stored_ns, missed.payload)
            if stored.seq > seq:
                yield read(stored.seq, stored.stored_ns, stored.payload)
                seq = stored.seq
