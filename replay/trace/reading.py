"""Reading the ledger for `trace ID`: which request and which VM the id is about, and their events."""

from collections.abc import Sequence
from contextlib import aclosing

from events.gate import BootOrdered, DrainCancelled, GateDecided, WakeOrdered
from replay.history import Told, recorded
from replay.source import Source
from replay.trace.spans import Steps, Trace, trace_of
from replay.why.chain import Link
from replay.why.event import located
from replay.why.named import AmbiguousError, IdError, Named
from replay.why.story import Scaling


async def trace(source: Source, text: str, progress: Told | None = None) -> Trace:
    """The trace of the request, or of the one VM's trip, that `text` names; `IdError` where it names neither.

    A request gives all its VMs, an order or an outcome its own VM alone; the trace's id is the request's in both. Errors
    of reading as in `replay.history`.
    """
    last = await source.last()
    named, origins = await located(source, text, last, progress)
    request, order, seq = _about(origins.links, named)
    steps = Steps(request, order)
    await _read(source, steps, seq, last, progress)
    found = trace_of(steps)
    assert found is not None, (request, seq)  # it was seen there
    return found


async def _read(source: Source, steps: Steps, first: int, last: int, progress: Told | None) -> None:
    """The steps include everything from the request until nothing more can come; however the source groups it."""
    async with aclosing(recorded(source, first - 1, last, progress)) as groups:
        async for group in groups:
            for one in group:
                steps.apply(one)
                if steps.ended_by(one.stored_at):
                    return


def _about(links: Sequence[Link], named: Named) -> tuple[str, str | None, int]:
    """The request, perhaps the one order, and where the request stands."""
    requests = [link.recorded for link in links if isinstance(link.recorded.fact, Scaling)]
    if not requests:
        raise IdError(
            f"{named.id} ({named.what}, sequence {named.seq}) is about no request to have VMs awake or asleep: "
            "there is no activation to trace."
        )
    if len(requests) > 1:
        names = "; ".join(
            f"{one.id} (sequence {one.seq})" for one in sorted(requests, key=lambda one: one.seq)
        )
        raise AmbiguousError(f"{named.id} is about {len(requests)} requests, name one of them: {names}.")
    request = requests[0]
    if request.id == named.id or (isinstance(links[0].recorded.fact, GateDecided) and named.kind == "event"):
        return request.id, None, request.seq
    orders = [
        order
        for link in links
        for order in link.orders
        if isinstance(order, WakeOrdered | BootOrdered | DrainCancelled) and order.request == request.id
    ]
    return request.id, orders[0].id if orders else None, request.seq
