"""What the steward tells Prometheus."""

from prometheus_client import Counter, Gauge

SAID = Counter("virtscale_steward_said", "Events about maintenance that were recorded", ["event"])
OPEN = Gauge("virtscale_steward_open", "Entries of the calendar that are not over")
