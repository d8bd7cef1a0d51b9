"""The loopback ports of one installation."""

import os
from dataclasses import dataclass
from typing import Self

from lab.ports import free_ports, require_free


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one installation; `guests` is the first of as many as there are VMs."""

    bus: int
    traffic: int
    balancer_metrics: int
    prometheus: int
    smtp: int
    metrics: int
    remote_write: int
    alertmanager: int
    guests: int

    @classmethod
    def usual(cls, shift: int = 0) -> Self:
        """The ports that the documents speak of, each higher by `shift`: a second house stands beside the first."""
        return cls(
            *(port + shift for port in (14222, 18080, 18404, 19090, 10025, 19100, 19201, 19093, 21000))
        )

    @classmethod
    def free(cls) -> Self:
        """Ports that are free now; the guests' are a range that the kernel does not hand out."""
        return cls(*free_ports(8), guests=22000 + os.getpid() % 8000)

    def require_free(self) -> None:
        """Raise `lab.port-taken` for the first port that somebody has; better before anything is started."""
        for port, wanted_by in (
            (self.bus, "the bus"),
            (self.traffic, "the load balancer"),
            (self.balancer_metrics, "the load balancer's metrics"),
            (self.prometheus, "Prometheus"),
            (self.smtp, "the mail sink"),
            (self.metrics, "the workers' metrics"),
            (self.remote_write, "remote write"),
            (self.alertmanager, "Alertmanager"),
        ):
            require_free(port, wanted_by, instead="move all with `virtscale up --shift-ports 100`")
