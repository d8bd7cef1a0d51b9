"""The ledger's messages as the bus stored them, in order and without a hole: what is sealed is never decoded."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from events.bus.port import Bus, BusError, Store, Stored, UnansweredError
from services.sealer.decide import check_end

RETRY_SECONDS: Final = 0.1
_TRIES: Final = 3
"""How often a message is asked for that the bus counts and answers not to have."""

_FAR: Final = 10_000  # the tail takes about as long for so many as a new far reading


async def follow(bus: Bus, after: int) -> AsyncGenerator[list[Stored]]:
    """Every message after sequence `after`, in groups, for ever: each once, the next one next.

    Raises `BusError` for a hole. Waits for a bus that does not answer.
    """
    seq = after
    while True:
        while (goal := (await standing(bus)).last_seq) > seq + _FAR:
            async for group in between(bus, seq + 1, goal):
                seq = group[-1].seq
                yield group
        async with aclosing(bus.tail(seq)) as tail:
            async for group in tail:
                straight = await _straightened(bus, seq, group)
                if straight:
                    seq = straight[-1].seq
                    yield straight


async def _straightened(bus: Bus, seq: int, group: list[Stored]) -> list[Stored]:
    """What a group of the tail brings after `seq`, with what is missing before it read and what came before left out."""
    straight: list[Stored] = []
    for stored in group:
        if stored.seq > seq + 1:
            async for missing in between(bus, seq + 1, stored.seq - 1):
                straight += missing
            seq = stored.seq - 1
        if stored.seq == seq + 1:
            straight.append(stored)
            seq = stored.seq
    return straight


async def between(bus: Bus, first: int, last: int) -> AsyncGenerator[list[Stored]]:
    """The messages from `first` to `last`, in groups; `LedgerShorterError` when the bus has them no more.

    Raises `BusError` for a hole, also for one at the end: a bus whose last file was cut counts by its index what it does not
    give. One that does not answer at all is waited for.
    """
    following, refused = first, 0
    while following <= last:
        try:
            group = await bus.read_ahead(following, last)
        except UnansweredError:
            await asyncio.sleep(RETRY_SECONDS)
            counted = (await standing(bus)).last_seq
            check_end(last, counted)
            refused += not await _given(bus, following)
            if refused >= _TRIES:
                raise BusError(
                    f"The bus counts {counted} events of the ledger and does not give event {following}: its store is damaged. Run "
                    "`virtscale ledger verify`."
                ) from None
            continue
        refused = 0
        for stored in group:
            if stored.seq != following:
                raise BusError(
                    f"The bus gave event {stored.seq} of the ledger where {following} is next: its store is damaged. Run "
                    "`virtscale ledger verify`."
                )
            following += 1
        yield group


async def _given(bus: Bus, seq: int) -> bool:
    """Whether the bus gives the message, as far as it answers: no answer says nothing."""
    try:
        return bool(await bus.read(seq, seq))
    except UnansweredError:
        return True


async def standing(bus: Bus) -> Store:
    """Where the stream stands, once the bus answers."""
    while True:
        try:
            return await bus.store()
        except UnansweredError:
            await asyncio.sleep(RETRY_SECONDS)


async def last_on(bus: Bus, subject: str) -> Stored | None:
    """The last message on a subject, once the bus answers."""
    while True:
        try:
            return await bus.last_on(subject)
        except UnansweredError:
            await asyncio.sleep(RETRY_SECONDS)


async def read_surely(bus: Bus, first: int, last: int) -> list[Stored]:
    """The messages from `first` to `last`, as many as there are, once the bus answers. Raises `BusError` for a hole."""
    while True:
        try:
            return await bus.read(first, last)
        except UnansweredError:
            await asyncio.sleep(RETRY_SECONDS)
