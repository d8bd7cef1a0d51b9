"""What the waker measures."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CONNECTED: Final = Gauge("virtscale_waker_connected", "Whether the waker has its hypervisor's ear.", ["host"])
EFFECT_SECONDS: Final = Histogram(
    "virtscale_waker_effect_seconds",
    "Time of the hypervisor's answer to one effect.",
    ["effect"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 20),
)
ERRORS: Final = Counter(
    "virtscale_waker_errors_total", "Calls that the hypervisor refused or did not answer.", ["host"]
)
DRIFTED: Final = Gauge(
    "virtscale_waker_drifted",
    "Things about domains of the host that were otherwise at the last look.",
    ["host"],
)
STRANGERS: Final = Gauge(
    "virtscale_waker_domains_of_nobody",
    "Domains of the host at rest that bear our mark and belong to no VM.",
    ["host"],
)
