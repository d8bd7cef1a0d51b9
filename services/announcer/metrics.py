"""What the ledger does not tell of the announcer: how the load balancer behaves."""

from typing import Final

from prometheus_client import Counter, Gauge

TROUBLES: Final = Counter(
    "virtscale_balancer_troubles",
    "Calls that the load balancer did not answer, or answered with a no.",
    ["why"],
)

ANSWERS: Final = Gauge(
    "virtscale_balancer_answers", "1 when the last look at the load balancer succeeded, else 0."
)
