"""Explorations in words: a table of what was seen, and the ledger in which a law was broken."""

from collections.abc import Sequence

from events.envelope import Recorded
from events.gate import GateDecided
from tests.model.book import Book
from tests.model.explore import Found

COLUMNS = (
    "world",
    "mishaps",
    "starts end",
    "states",
    "transitions",
    "interleavings",
    "ledgers",
    "longest",
    "seconds",
)


def table(found: Sequence[Found]) -> str:
    """One line for each world, and one for all."""
    rows = [COLUMNS, *(row(one) for one in found)]
    if len(found) > 1:
        rows.append(
            (
                "all",
                "",
                "",
                f"{sum(one.states for one in found):,}",
                f"{sum(one.transitions for one in found):,}",
                "",  # ways are counted in steps, and steps are not the same size everywhere
                f"{sum(one.ledgers for one in found):,}",
                str(max(one.longest for one in found)),
                f"{sum(one.seconds for one in found):.1f}",
            )
        )
    widths = [max(len(one[column]) for one in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            (
                one[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(one[1:], widths[1:], strict=True)),
            )
        )
        for one in rows
    )


def row(found: Found) -> tuple[str, ...]:
    """One world's line."""
    return (
        found.name,
        found.mishaps,
        found.endings,
        f"{found.states:,}",
        f"{found.transitions:,}",
        f"{found.interleavings:,}",
        f"{found.ledgers:,}",
        str(found.longest),
        f"{found.seconds:.1f}",
    )


def story(book: Book, page: int) -> str:
    """The ledger up to a page, an event a line."""
    return "\n".join(f"  #{line.seq} {_short(line)}" for line in book.ledger(page))


def _short(line: Recorded) -> str:
    fact = line.fact
    if isinstance(fact, GateDecided):
        answers = ", ".join(f"#{one.request_seq} {one.outcome} {one.code}" for one in fact.answers)
        orders = ", ".join(f"{type(one).__name__} {one.vm} as {one.id[:6]}" for one in fact.orders)
        return f"{line.type} follows #{fact.follows}, through #{fact.through}: [{answers}] [{orders}]"
    named = (
        f"{name}={value}"
        for name in ("vm", "host", "pool", "key", "add", "count", "found")
        if (value := getattr(fact, name, None)) is not None
    )
    held = getattr(fact, "reservation", None)
    return f"{line.type} {' '.join(named)}{f' as {held[:6]}' if held else ''}"
