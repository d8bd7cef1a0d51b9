"""What the notifier counts."""

from typing import Final

from prometheus_client import Counter, Histogram

MAILS: Final = Counter("virtscale_mails_total", "Mails about refusals by what became of them.", ["outcome"])
TOOK: Final = Histogram(
    "virtscale_refusal_mail_seconds",
    "From the stored refusal to the relay's acceptance.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 300, 3600),
)
