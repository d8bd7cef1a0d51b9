"""Alerts and silences of a real Alertmanager, by its own API."""

import datetime as dt

import httpx


async def alert(http: httpx.AsyncClient, **labels: str) -> None:
    """An alert fires that has these labels."""
    answer = await http.post("/api/v2/alerts", json=[{"labels": {"alertname": "Down", **labels}}])
    answer.raise_for_status()


async def states(http: httpx.AsyncClient) -> dict[str, str]:
    """Whether the alert of each VM is active or suppressed, by `org/vm`."""
    answer = await http.get("/api/v2/alerts")
    answer.raise_for_status()
    return {
        f"{one['labels'].get('org', '')}/{one['labels'].get('vm', '')}": one["status"]["state"]
        for one in answer.json()
    }


async def silence(
    http: httpx.AsyncClient, begins_at: dt.datetime, *, comment: str = "by hand", **labels: str
) -> str:
    """The id of a silence of an hour that somebody set by hand."""
    answer = await http.post(
        "/api/v2/silences",
        json={
            "matchers": [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()],
            "startsAt": begins_at.isoformat(),
            "endsAt": (begins_at + dt.timedelta(hours=1)).isoformat(),
            "createdBy": "somebody",
            "comment": comment,
        },
    )
    answer.raise_for_status()
    return answer.json()["silenceID"]


async def listed(http: httpx.AsyncClient) -> dict[str, str]:
    """The state of every silence, by its id."""
    answer = await http.get("/api/v2/silences")
    answer.raise_for_status()
    return {one["id"]: one["status"]["state"] for one in answer.json()}
