"""The bounds that both buses keep."""

from typing import Final

import msgspec

TIMEOUT_SECONDS: Final = 5.0
"""After this an answer counts as never given. Users of JetStream met losses with two seconds under load."""

MOST_SERVED: Final = 1024
"""Intake messages being answered at the same time; one more is told so and forgotten."""

OVERLOADED: Final = msgspec.json.encode(
    {
        "code": "Overloaded",
        "text": f"{MOST_SERVED} requests are being answered already; ask again in a second.",
    }
)

MOST_MESSAGE_BYTES: Final = 60_000
"""Headers and payload of one message: with its prefix it stays below the 64 KiB that an entry of the audit log may have."""

LEAST_BATCH: Final = 2
MOST_BATCH: Final = 1000
"""The server's own limit for one atomic batch."""

GROUP_MESSAGES: Final = 256
"""Messages that a far reading gives at a time: folding them takes a few milliseconds, and then others have a turn."""

TELEMETRY_MESSAGES: Final = 256
"""Messages of telemetry in one answer: some megabytes at most."""
