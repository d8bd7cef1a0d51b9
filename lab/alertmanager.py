"""Alertmanager on loopback: takes alerts, holds silences, and tells a webhook where one is named."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

from lab.http import get
from lab.part import OnChange, Part, Plan, find_program
from lab.ports import LOOPBACK, require_free

PROGRAM = "prometheus-alertmanager"
"""Debian's name for it."""

MEND = "apt-get install -y --no-install-recommends prometheus-alertmanager"
SNAPSHOT_SECONDS = 2
NOBODY = "nobody"


def installed() -> bool:
    """Whether this machine has one to start."""
    return find_program(PROGRAM) is not None


class Alertmanager:
    """One Alertmanager with a private directory, alone: no cluster; `url` answers its API v2.

    Silences outlive a stop. The trap: they are in memory and written every `SNAPSHOT_SECONDS` (upstream: every 15 minutes), so what
    was set since is forgotten when it is killed.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        webhook: str = "",
        keep: bool = False,
        on_change: OnChange | None = None,
    ) -> None:
        """`webhook` is a URL that is told of every alert that is not suppressed, at once; without one nobody is."""
        self.directory = directory
        self.port = port
        self.webhook = webhook
        self.configuration = directory / "alertmanager.yml"
        self._part = Part(
            Plan(
                name="alertmanager",
                argv=(
                    PROGRAM,
                    f"--config.file={self.configuration}",
                    f"--storage.path={directory / 'data'}",
                    f"--data.maintenance-interval={SNAPSHOT_SECONDS}s",
                    f"--web.listen-address={LOOPBACK}:{port}",
                    "--cluster.listen-address=",
                    "--log.level=warn",
                ),
                directory=directory,
                ready=self._answers,
                mend=MEND,
                keep=keep,
            ),
            on_change,
        )

    @property
    def url(self) -> str:
        """The root of the HTTP API."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def part(self) -> Part:
        """The Alertmanager process."""
        return self._part

    async def start(self) -> None:
        """Alertmanager takes alerts and silences; those of its former life are there."""
        require_free(self.port, "Alertmanager")
        self._write()
        await self._part.start()

    async def stop(self) -> None:
        """Alertmanager is gone; its silences are kept for the next start."""
        await self._part.stop()

    def _write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        receiver: dict[str, object] = {"name": NOBODY}
        if self.webhook:
            receiver["webhook_configs"] = [{"url": self.webhook}]
        settings = {
            # Upstream's first notification of a group waits 30 s for others.
            "route": {"receiver": NOBODY, "group_by": ["..."], "group_wait": "0s"},
            "receivers": [receiver],
        }
        draft = self.configuration.with_suffix(".draft")
        draft.write_text(json.dumps(settings, indent=1))  # every JSON text is a YAML text
        draft.replace(self.configuration)

    async def _answers(self) -> bool:
        status, _ = await get(self.port, "/-/ready")
        return status == HTTPStatus.OK
