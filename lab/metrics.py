"""Prometheus on loopback, scraping the parts that the caller names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from lab.errors import LabError
from lab.http import get
from lab.part import OnChange, Part, Plan
from lab.ports import LOOPBACK, require_free

MEND = "apt-get install -y --no-install-recommends prometheus"
FASTEST_SECONDS = 1
SLOWEST_SECONDS = 5


@dataclass(frozen=True)
class Target:
    """Something with metrics: `address` is host:port, `labels` are put on every sample of it."""

    job: str
    address: str
    path: str = "/metrics"
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Push:
    """Where samples are pushed to as soon as they are scraped, by remote write: those of series whose name matches `names`.

    With the sender's usual deadline of 5 s they come 4.4 s after the scrape, with this one after 20 ms (docs/signals.md).
    """

    url: str
    names: str = ".*"
    deadline_ms: int = 20


@dataclass(frozen=True)
class Alerts:
    """What Prometheus judges at each evaluation, and who hears of it: the Alertmanager at `address`, host:port.

    `rules` are names of alerts, each with its PromQL: every series that it yields is an alert, with that series' labels.
    """

    address: str
    rules: tuple[tuple[str, str], ...]


class Metrics:
    """One Prometheus with a private data directory below `directory`; `url` answers queries.

    The scrape interval, 1 to 5 s, bounds how old the sample behind a reactive trigger can be. The trap: Prometheus
    looks at its targets for the first time 5 s after its start, whatever the interval.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        targets: Sequence[Target],
        *,
        scrape_seconds: int = 1,
        retention_hours: int = 24,
        keep: bool = False,
        on_change: OnChange | None = None,
        push: Push | None = None,
        alerts: Alerts | None = None,
    ) -> None:
        if not FASTEST_SECONDS <= scrape_seconds <= SLOWEST_SECONDS:
            raise LabError(
                "lab.scrape-interval-refused",
                f"A scrape interval of {scrape_seconds} s was asked; the lab scrapes every {FASTEST_SECONDS} to "
                f"{SLOWEST_SECONDS} s. Choose one of these.",
            )
        self.directory = directory
        self.port = port
        self.targets = tuple(targets)
        self.scrape_seconds = scrape_seconds
        self.push = push
        self.alerts = alerts
        self.configuration = directory / "prometheus.yml"
        self._part = Part(
            Plan(
                name="prometheus",
                argv=(
                    "prometheus",
                    f"--config.file={self.configuration}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--storage.tsdb.retention.time={retention_hours}h",
                    # What was not pushed when it is to end is not worth waiting for who takes it no more.
                    "--storage.remote.flush-deadline=100ms",
                    f"--web.listen-address={LOOPBACK}:{port}",
                    "--log.level=warn",
                ),
                directory=directory,
                ready=self._answers,
                mend=MEND,
                ready_seconds=30.0,
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
        """The Prometheus process."""
        return self._part

    async def start(self) -> None:
        """Prometheus answers queries and scrapes `targets`."""
        require_free(self.port, "Prometheus")
        self._write()
        await self._part.start()

    async def stop(self) -> None:
        """Prometheus is gone; its samples are kept for the next start."""
        await self._part.stop()

    async def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The instant value of a PromQL expression: labels and value of each series.

        Raises `lab.query-refused` with Prometheus's own reason.
        """
        status, body = await get(self.port, f"/api/v1/query?{urlencode({'query': expression})}")
        answer = json.loads(body)
        if status != HTTPStatus.OK:
            raise LabError(
                "lab.query-refused",
                f"Prometheus refused {expression!r}: {answer.get('error')}; mend the query.",
            )
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def _write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        interval = f"{self.scrape_seconds}s"
        jobs = [
            {
                "job_name": target.job,
                "metrics_path": target.path,
                "static_configs": [{"targets": [target.address], "labels": dict(target.labels)}],
            }
            for target in self.targets
        ]
        settings: dict[str, object] = {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "scrape_configs": jobs,
        }
        if self.push is not None:
            settings["remote_write"] = [
                {
                    "url": self.push.url,
                    "queue_config": {"batch_send_deadline": f"{self.push.deadline_ms}ms"},
                    "metadata_config": {"send": False},
                    "write_relabel_configs": [
                        {"source_labels": ["__name__"], "regex": self.push.names, "action": "keep"}
                    ],
                }
            ]
        if self.alerts is not None:
            rules = [{"alert": name, "expr": expression} for name, expression in self.alerts.rules]
            path = self.directory / "rules.yml"
            path.write_text(json.dumps({"groups": [{"name": "lab", "rules": rules}]}))
            settings["rule_files"] = [str(path)]
            settings["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [self.alerts.address]}]}]
            }
        draft = self.configuration.with_suffix(".draft")
        draft.write_text(json.dumps(settings, indent=1))  # every JSON text is a YAML text
        draft.replace(self.configuration)

    async def _answers(self) -> bool:
        status, _ = await get(self.port, "/-/ready")
        return status == HTTPStatus.OK
