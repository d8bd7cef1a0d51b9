"""Where a Ceph cluster is, and whose turn it is to bring a template there."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.storage.errors import StorageError
from services.storage.volumes import COPY_SECONDS


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a Ceph cluster is, and who we are there: one who may make pools and users."""

    conf: Path
    user: str = "client.admin"
    _offers: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @contextmanager
    def alone(self, template: str) -> Generator[None]:
        """No driver that was given this very cluster brings a template meanwhile.

        Each host has a driver of its own, and all bring the same templates: the second would take the first for one who died, and
        remove what he makes. Of drivers in two processes the mark of the image keeps them apart.
        """
        if not self._offers.acquire(timeout=COPY_SECONDS):
            raise StorageError(
                f"Template {template} was not brought to the cluster: other hosts have brought theirs for {COPY_SECONDS:g} s. Ask again."
            )
        try:
            yield
        finally:
            self._offers.release()
