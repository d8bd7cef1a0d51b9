"""Prometheus as the triggers see it: one number, and when its sample was taken."""

import asyncio
import datetime as dt
import math
from typing import Annotated, Final

import httpx
import msgspec

from services.signal.port import Measurement

MOST_BYTES: Final = 64 * 1024
"""An answer with one number has some 200 bytes; a longer one is a query that yields more."""


class _Series(msgspec.Struct, frozen=True):
    value: tuple[float, str]


class _Vector(msgspec.Struct, frozen=True, tag_field="resultType", tag="vector"):
    result: Annotated[tuple[_Series, ...], msgspec.Meta(max_length=1000)]

    @property
    def points(self) -> list[tuple[float, str]]:
        """Time and value of every series."""
        return [series.value for series in self.result]


class _Scalar(msgspec.Struct, frozen=True, tag_field="resultType", tag="scalar"):
    result: tuple[float, str]

    @property
    def points(self) -> list[tuple[float, str]]:
        """Time and value of the one number."""
        return [self.result]


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Vector | _Scalar


class Prometheus:
    """The HTTP API at `url`, over connections that are kept; `close` ends them."""

    def __init__(self, url: str) -> None:
        # A proxy of the environment would be asked for what stands beside us.
        self._client = httpx.AsyncClient(
            base_url=url, limits=httpx.Limits(max_connections=8), trust_env=False
        )

    async def close(self) -> None:
        """No connection is open any more."""
        await self._client.aclose()

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        """The newest value of an expression that yields one number; None when there is none or no answer.

        `observed_at` is when the sample was taken, as PromQL's `timestamp` says it for a plain series. For a
        computed expression that is when it was computed. The time in the answer itself is never
        more than that: two questions within one scrape would look like two samples.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                found = await self._instant({"query": expression})
                if found is None:
                    return None
                computed_at, value = found
                sampled = await self._instant(
                    {"query": f"timestamp({expression})", "time": f"{computed_at:.3f}"}
                )
            sampled_at = computed_at if sampled is None else sampled[1]
            return Measurement(value, dt.datetime.fromtimestamp(sampled_at, dt.UTC))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.DecodeError):
            return None  # whoever asks counts silence; it must never look like a zero
        except (ValueError, OverflowError, OSError):
            return None  # what is no number, or no time: `timestamp(...)` says whatever a query makes of it

    async def _instant(self, parameters: dict[str, str]) -> tuple[float, float] | None:
        """Time and value, when there is exactly one and it is a number."""
        answer = await self._client.get("/api/v1/query", params=parameters)
        if not answer.is_success or len(answer.content) > MOST_BYTES:
            return None
        points = msgspec.json.decode(answer.content, type=_Answer).data.points
        if len(points) != 1:
            return None
        at, text = points[0]
        value = float(text)
        return (at, value) if math.isfinite(value) else None
