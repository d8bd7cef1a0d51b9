"""What the notifier counts."""

from typing import Final

from prometheus_client import Counter, Histogram

MAILS: Final = Counter("virtscale_mails_total", "Mails by what became of them.", ["outcome"])
TOLD: Final = Counter(
    "virtscale_mailed_refusals_total", "Refusals that mails named, by what became of the mail.", ["outcome"]
)
SIGNALS_TOLD: Final = Counter(
    "virtscale_mailed_signals_total",
    "Lost signals that mails named, by what became of the mail.",
    ["outcome"],
)
MAINTENANCE_TOLD: Final = Counter(
    "virtscale_mailed_maintenance_total",
    "Maintenance that mails told of, by what became of the mail.",
    ["outcome"],
)
DELETIONS_TOLD: Final = Counter(
    "virtscale_mailed_deletions_total",
    "Events of deletions that mails told of, by what became of the mail.",
    ["outcome"],
)
TROUBLES_TOLD: Final = Counter(
    "virtscale_mailed_troubles_total",
    "What befell VMs and mails told of, by what became of the mail.",
    ["outcome"],
)
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 300, 3600)
TOOK: Final = Histogram(
    "virtscale_refusal_mail_seconds",
    "From the stored refusal that begins an episode to the relay's acceptance.",
    buckets=_BUCKETS,
)
DIGEST_TOOK: Final = Histogram(
    "virtscale_digest_mail_seconds",
    "From the mark of a digest to the relay's acceptance.",
    buckets=_BUCKETS,
)
