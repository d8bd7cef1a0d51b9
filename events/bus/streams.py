"""The streams of the bus: the ledger, which keeps everything, and the dead letters and the telemetry, which fade."""

from typing import Final

import msgspec

from events.bus import wire
from events.bus.limits import MOST_MESSAGE_BYTES
from events.bus.permissions import DEAD, DEAD_LETTERS, LEDGER, STREAM_INFO, TELEMETRY, TELEMETRY_OF
from events.bus.port import Bus, BusError
from events.envelope import SUBJECTS

SHORTEST_DEDUP_SECONDS: Final = 0.1
"""The server refuses a shorter window, and takes zero for its default of two minutes."""

DEDUP_SECONDS: Final = 600.0
DEAD_SECONDS: Final = 30 * 24 * 3600
LEDGER_BYTES: Final = 2 * 1024**3
DEAD_BYTES: Final = 64 * 1024**2
DEAD_OF_ONE: Final = 1000
"""Dead letters of one publisher, which its subject is: it pushes out its own and nobody else's."""

TELEMETRY_SECONDS: Final = 8 * 24 * 3600
"""The seven days that a forecast knows, and one in which nobody may have listened."""

TELEMETRY_BYTES: Final = 1024**3
"""Eight days of some 500 pools; with more, what lies behind is shorter (measured, docs/performance.md)."""

STREAM_CREATE: Final = "$JS.API.STREAM.CREATE.{}"

_NS: Final = 1_000_000_000

_GUARDS: Final = (
    "subjects",
    "storage",
    "retention",
    "discard",
    "deny_delete",
    "deny_purge",
    "allow_rollup_hdrs",
    "allow_direct",
    "allow_atomic",
    "allow_msg_ttl",
    "max_age",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
)
"""What a stream that exists must agree on; sizes and windows may have been chosen otherwise."""


class UnguardedError(BusError):
    """A stream is there that could lose or change what it holds; nobody may write to it."""

    code = "BusUnguarded"


def ledger(
    *,
    max_bytes: int = LEDGER_BYTES,
    dedup_seconds: float = DEDUP_SECONDS,
    replicas: int = 1,
    first_seq: int = 1,
) -> dict[str, object]:
    """The definition of the ledger: nothing in it is ever deleted, and when it is full it takes no more.

    No age, no TTL and no rollup, because each of them makes holes, and a sequence is also a place in the audit
    tree. Never `persist_mode: async`, which acknowledges before the write. A stream that begins behind what was archived
    has a `first_seq` past 1, which cannot be changed later.
    """
    return {
        "name": LEDGER,
        "subjects": [SUBJECTS],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "first_seq": first_seq,
        "max_bytes": max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        # The server's own limit binds its clients, and not what its API answers: an answer that somebody who may read has
        # sent here could be longer than an entry of the audit log, or than a reader takes.
        "max_msg_size": MOST_MESSAGE_BYTES,
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "allow_msg_ttl": False,
        "allow_direct": True,
        "allow_atomic": True,
        "duplicate_window": int(max(dedup_seconds, SHORTEST_DEDUP_SECONDS) * _NS),
    }


def dead(*, max_bytes: int = DEAD_BYTES, replicas: int = 1) -> dict[str, object]:
    """The definition of the dead-letter stream: the oldest go after 30 days, when it is full, or for 1,000 newer ones."""
    return {
        "name": DEAD,
        "subjects": [DEAD_LETTERS],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "old",
        "max_age": DEAD_SECONDS * _NS,
        "max_bytes": max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": DEAD_OF_ONE,
    }


def telemetry(*, max_bytes: int = TELEMETRY_BYTES, replicas: int = 1) -> dict[str, object]:
    """The definition of the telemetry stream: nobody waits for its disk, and the oldest go after 8 days or when it is full.

    Acknowledged before it is on the disk: what a power cut takes are seconds of samples. The server does so for a stream of
    one replica only; one of several is written behind by the others.
    """
    return {
        "name": TELEMETRY,
        "subjects": [TELEMETRY_OF.format("*")],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "old",
        "max_age": TELEMETRY_SECONDS * _NS,
        "max_bytes": max_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "allow_direct": True,
        "compression": "s2",
        "duplicate_window": int(SHORTEST_DEDUP_SECONDS * _NS),
        **({"persist_mode": "async"} if replicas == 1 else {}),
    }


async def establish(
    admin: Bus,
    *,
    ledger_bytes: int = LEDGER_BYTES,
    dead_bytes: int = DEAD_BYTES,
    telemetry_bytes: int = TELEMETRY_BYTES,
    dedup_seconds: float = DEDUP_SECONDS,
    replicas: int = 1,
    first_seq: int = 1,
    timeout_seconds: float = 10.0,
) -> None:
    """The streams are there and guarded; those that were there stay as they are.

    `admin` is a connection that may use the whole API. With `dedup_seconds` at the server's minimum, 0.1,
    deduplication is as good as off. A ledger that is not there yet begins with `first_seq`. Raises `Unguarded` for a stream
    that does not keep what it is given.
    """
    wanted = (
        ledger(max_bytes=ledger_bytes, dedup_seconds=dedup_seconds, replicas=replicas, first_seq=first_seq),
        dead(max_bytes=dead_bytes, replicas=replicas),
        telemetry(max_bytes=telemetry_bytes, replicas=replicas),
    )
    for definition in wanted:
        await _establish(admin, definition, timeout_seconds)


async def _establish(admin: Bus, definition: dict[str, object], timeout_seconds: float) -> None:
    name = str(definition["name"])
    info = wire.stream_info(await admin.ask(STREAM_INFO.format(name), b"", timeout_seconds))
    if info.error is not None and info.error.err_code == wire.NO_STREAM:
        body = msgspec.json.encode(definition)
        info = wire.stream_info(await admin.ask(STREAM_CREATE.format(name), body, timeout_seconds))
    if info.error is not None:
        raise BusError(
            f"The bus did not make its stream {name}: {info.error.description} ({info.error.err_code}). "
            "Nothing was started; mend the bus."
        )
    wrong = differences(definition, info.config)
    if wrong:
        raise UnguardedError(
            f"The stream {name} is not what it must be: {'; '.join(wrong)}. Nothing may be written to it; "
            "move its data to a stream of the right definition."
        )


def differences(wanted: dict[str, object], found: dict[str, object]) -> list[str]:
    """Where a stream that was found departs from what guards it; empty when it may be used."""
    return [
        f"{key} is {found.get(key)!r} and must be {wanted[key]!r}"
        for key in _GUARDS
        # The server leaves out what is false, and zero ages.
        if key in wanted and (found.get(key) or False) != (wanted[key] or False)
    ]
