"""What storage measures."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CALL_SECONDS: Final = Histogram(
    "virtscale_storage_call_seconds",
    "Time of the host's answer to one call on a disk.",
    ["call"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 20, 60),
)
ERRORS: Final = Counter(
    "virtscale_storage_errors_total", "Calls that a host refused or did not answer.", ["host"]
)
STRANGERS: Final = Gauge(
    "virtscale_storage_files_of_nobody", "Files among a host's disks that belong to no VM.", ["host"]
)
DRIFTED: Final = Gauge(
    "virtscale_storage_drifted",
    "Things about disks of the host that were otherwise at the last look.",
    ["host"],
)
IMAGES_STRANGE: Final = Gauge(
    "virtscale_storage_images_of_nobody",
    "Images in an org's pool in the cluster that belong to no VM.",
    ["org"],
)
IMAGES_DRIFTED: Final = Gauge(
    "virtscale_storage_images_drifted",
    "Things about an org's disks in the cluster that were otherwise at the last look.",
    ["org"],
)
