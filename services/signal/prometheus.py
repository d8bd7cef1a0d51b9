"""Prometheus as the triggers see it: one number and when its sample was taken, or why there is none."""

import asyncio
import datetime as dt
import math
from http import HTTPStatus
from typing import Annotated, Final

import httpx
import msgspec

from services.signal.behind import LABEL, beside, selectors_in, taken
from services.signal.port import Heard, Measurement

MOST_BYTES: Final = 64 * 1024
"""An answer with one number has some 200 bytes; a longer one is a query that yields more."""

MOST_COURSE_BYTES: Final = 4 * 1024 * 1024
"""11,000 points, the most that Prometheus gives at once, have some 300 kB."""

MOST_POINTS: Final = 10_000
"""Prometheus refuses a course of more than 11,000 points; a longer one is asked for in pieces of these."""

COURSE_SECONDS: Final = 10.0
"""A week of a plain series takes some 0.2 s."""


class _Series(msgspec.Struct, frozen=True):
    value: tuple[float, str]
    metric: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class _Vector(msgspec.Struct, frozen=True, tag_field="resultType", tag="vector"):
    result: Annotated[tuple[_Series, ...], msgspec.Meta(max_length=1000)]

    @property
    def points(self) -> list[tuple[float, str]]:
        """Time and value of every series that the query yields."""
        return [series.value for series in self.result if LABEL not in series.metric]

    @property
    def times(self) -> list[float]:
        """When samples were taken, as it was asked beside."""
        return [float(series.value[1]) for series in self.result if LABEL in series.metric]


class _Scalar(msgspec.Struct, frozen=True, tag_field="resultType", tag="scalar"):
    result: tuple[float, str]

    @property
    def points(self) -> list[tuple[float, str]]:
        """Time and value of the one number."""
        return [self.result]

    @property
    def times(self) -> list[float]:
        """None: what is reckoned without a vector was asked for alone."""
        return []


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Vector | _Scalar


class _Course(msgspec.Struct, frozen=True):
    values: list[tuple[float, str]]


class _Matrix(msgspec.Struct, frozen=True):
    result: Annotated[list[_Course], msgspec.Meta(max_length=1000)]


class _Courses(msgspec.Struct, frozen=True):
    status: str
    data: _Matrix


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

    async def query(self, expression: str, timeout_seconds: float) -> Heard:
        """The newest value of an expression that yields one number, or why there is none.

        `observed_at` is when the newest of the samples was taken that it comes from, and `oldest_at` the oldest, as PromQL's
        `timestamp` says it for what the query selects; of what selects nothing, when it was computed. The time in the
        answer itself is always that: two questions within one scrape would look like two samples.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._answer(expression)
            if not answer.is_success or len(answer.content) > MOST_BYTES:
                return None
            data = msgspec.json.decode(answer.content, type=_Answer).data
            if len(data.points) != 1:
                return "many" if data.points else "vanished"
            [(computed_at, text)] = data.points
            value = float(text)
            if not math.isfinite(value):
                return "no-number"
            bounds = taken(data.times, computed_at)
            return Measurement(value, _time(bounds.newest), _time(bounds.oldest))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.DecodeError):
            return None  # whoever asks counts silence; it must never look like a zero
        except (ValueError, OverflowError, OSError):
            return "no-number"  # or no time: `timestamp(...)` says whatever a query makes of it

    async def _answer(self, expression: str) -> httpx.Response:
        """What the query yields, and beside it the times of what it selects.

        Beside a scalar nothing can stand: then it is asked for as a vector. What is refused in both forms is no PromQL, or some that was
        read wrongly, and is asked for alone.
        """
        selectors = selectors_in(expression)
        forms = (
            (beside(expression, selectors), beside(f"vector({expression}\n)", selectors)) if selectors else ()
        )
        for form in forms:
            answer = await self._client.get("/api/v1/query", params={"query": form})
            if answer.status_code != HTTPStatus.BAD_REQUEST:
                return answer
        return await self._client.get("/api/v1/query", params={"query": expression})

    async def course(
        self, expression: str, since: dt.datetime, until: dt.datetime, step_seconds: int
    ) -> list[Measurement] | None:
        """Both ends and every step between, the oldest first, without those that had no value; None when nobody answered.

        Where the expression yields several series the one with most points is taken: the others are those of the same thing
        under former labels.
        """
        found: list[Measurement] = []
        begin = since
        while begin <= until:
            end = min(until, begin + dt.timedelta(seconds=step_seconds * (MOST_POINTS - 1)))
            piece = await self._range(expression, begin, end, step_seconds)
            if piece is None:
                return None
            found += piece
            begin = end + dt.timedelta(seconds=step_seconds)
        return found

    async def _range(
        self, expression: str, since: dt.datetime, until: dt.datetime, step_seconds: int
    ) -> list[Measurement] | None:
        parameters = {
            "query": expression,
            "start": f"{since.timestamp():.3f}",
            "end": f"{until.timestamp():.3f}",
            "step": f"{step_seconds}",
        }
        try:
            async with asyncio.timeout(COURSE_SECONDS):
                answer = await self._client.get(
                    "/api/v1/query_range", params=parameters, timeout=COURSE_SECONDS
                )
            if not answer.is_success or len(answer.content) > MOST_COURSE_BYTES:
                return None
            courses = msgspec.json.decode(answer.content, type=_Courses).data.result
            points = max((one.values for one in courses), key=len) if courses else []
            values = ((at, float(text)) for at, text in points)
            return [Measurement(value, _time(at)) for at, value in values if math.isfinite(value)]
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.DecodeError, ValueError):
            return None


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
