"""What the intake counts."""

from typing import Final

from prometheus_client import Counter, Gauge

REJECTED: Final = Counter(
    "virtscale_intake_rejected_total", "Intake messages that were refused at the door.", ["code"]
)
STORED: Final = Counter("virtscale_intake_stored_total", "Requests that went into the ledger.", ["event"])
SILENT: Final = Counter(
    "virtscale_trigger_silent_total", "Trigger queries that yielded no number.", ["org", "pool"]
)
BACKFILLED: Final = Counter(
    "virtscale_telemetry_backfilled_total",
    "Ticks of the past that were told to the forecaster, one for each org and tick.",
)
LOST: Final = Gauge("virtscale_signals_lost", "Queries of pools that yield nothing new, as the ledger says.")
PUSHED: Final = Counter(
    "virtscale_remote_write_samples_total",
    "Pushed samples of series that a query asks for, by what became of them.",
    ["outcome"],
)
PUSHES: Final = Counter(
    "virtscale_remote_write_requests_total",
    "Requests of remote write by the status they were answered with.",
    ["status"],
)
UNTOLD: Final = Counter(
    "virtscale_observations_untold_total", "Windows of pools that were given up before the ledger took them."
)
WAITING: Final = Gauge(
    "virtscale_observations_waiting", "Windows of pools that are over and that the ledger has not taken yet."
)
