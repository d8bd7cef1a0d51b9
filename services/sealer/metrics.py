"""What the sealer counts and measures."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SIZE: Final = Gauge("virtscale_ledger_sealed_events", "Events that the last checkpoint covers.")
UNSEALED: Final = Gauge(
    "virtscale_ledger_unsealed_events", "Events that were read and that no checkpoint covers yet."
)
SEALED: Final = Counter("virtscale_ledger_checkpoints", "Checkpoints that were signed and written.")
UNWRITTEN: Final = Counter("virtscale_ledger_unwritten", "Checkpoints that the archive's disk did not take.")
SEAL_SECONDS: Final = Histogram(
    "virtscale_ledger_seal_seconds",
    "From the first byte of a checkpoint's tiles to the checkpoint on the disk.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PERMITTED: Final = Gauge("virtscale_ledger_permitted", "1 while the sealer says that one may append.")
SCRUB_AGE: Final = Gauge(
    "virtscale_ledger_scrub_age_seconds",
    "Since all that was sealed was last compared with what the bus holds; -1 when it never was.",
)
STORE_RATIO: Final = Gauge(
    "virtscale_ledger_store_ratio", "Share of the bus's store that the ledger has filled."
)
COSIGNED: Final = Gauge(
    "virtscale_ledger_cosigned_events",
    "Events of the last checkpoint that a witness has signed.",
    ["witness"],
)
WITNESS_FAILURES: Final = Counter(
    "virtscale_ledger_witness_failures", "Checkpoints that a witness did not sign.", ["witness"]
)
