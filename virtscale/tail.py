"""`virtscale ledger tail`: the newest events, one line each."""

import sys

import msgspec

from events.bus.port import Stored
from events.envelope import Recorded, read
from events.gate import GateDecided
from schemas.house import House
from virtscale.ask import events_after, operator
from virtscale.exits import EXIT_DONE, EXIT_USAGE
from virtscale.show import Format, say

_MOST = 1000


async def tail(house: House, last: int, form: Format, *, follow: bool) -> int:
    """The last events on standard output, and with `follow` every one that comes; the exit code."""
    if not 1 <= last <= _MOST:
        say(f"{last} events cannot be shown: choose 1 to {_MOST}.")
        return EXIT_USAGE
    async with operator(house) as bus:
        end = await bus.last()
        if end:
            for stored in await bus.read(max(1, end - last + 1), end):
                _write(stored, form)
        if follow:
            async for recorded in events_after(bus, end):
                [stored] = await bus.read(recorded.seq, recorded.seq)
                _write(stored, form)
    return EXIT_DONE


def _write(stored: Stored, form: Format) -> None:
    if form == "json":
        event = msgspec.json.decode(stored.payload, type=dict[str, msgspec.Raw])
        line = {"seq": stored.seq, "stored_ns": stored.stored_ns, "message_subject": stored.subject, **event}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    else:
        sys.stdout.write(line_of(read(stored.seq, stored.stored_ns, stored.payload)) + "\n")
    sys.stdout.flush()


def line_of(recorded: Recorded) -> str:
    """An event as one line: place, time, writer, type, and what it is about."""
    fact = recorded.fact
    what = "/".join(
        str(value)
        for name in ("org", "pool", "vm", "host", "person")
        if (value := getattr(fact, name, None)) is not None
    )
    if isinstance(fact, GateDecided):
        words = [f"{answer.outcome} {answer.code} {answer.granted}/{answer.asked}" for answer in fact.answers]
        words += [f"{type(order).__struct_config__.tag} {order.vm}" for order in fact.orders]
        what += ": " + ", ".join(words)
    elif (failure := getattr(fact, "code", None)) is not None:
        what += f": {failure}"
    return f"{recorded.seq:>6}  {recorded.stored_at:%H:%M:%S.%f}  {recorded.writer:<10} {recorded.type:<24} {what}"
