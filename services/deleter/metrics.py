"""What the deleter tells Prometheus."""

from prometheus_client import Counter, Gauge

SAID = Counter("virtscale_deleter_said", "Events about deletions that were recorded", ["event"])
STANDING = Gauge("virtscale_deleter_standing", "Deletions that are neither complete nor cancelled")
LATE = Gauge(
    "virtscale_deleter_late_seconds", "How long ago the instant of the latest stage came that is not complete"
)
SILENCE_FAILURES = Counter(
    "virtscale_deleter_silence_failures", "Calls to the Alertmanager that failed", ["code"]
)
SEED_FAILURES = Counter(
    "virtscale_deleter_seed_failures", "Tries to remove what a VM was told from the vault that failed"
)
