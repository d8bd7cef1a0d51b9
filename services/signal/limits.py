"""How much one publisher may ask, so that what it asks too often costs nobody else a place or a millisecond."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from events.bus.limits import MOST_SERVED
from schemas.intake import Rejection
from schemas.names import FORECAST, OPERATOR, TRIGGER

REQUESTS_PER_SECOND: Final = 200.0
"""The intake takes some 3,600 requests a second in all (docs/performance.md), so that 18 publishers at their limit
fill it and one or two cannot. An honest one asks a few times a minute."""

BURST_REQUESTS: Final = 400
"""Two seconds' worth: a start-up that asks for all pools at once is no flood."""

HOUSE_FACTOR: Final = 10
"""The operator, the triggers and the forecasts may ask so many times more: they are ours, and a fault of ours must end, too."""

MOST_AT_ONCE: Final = MOST_SERVED // 2
"""Requests of one publisher being answered at the same time: those that wait for the gate hold their place for up
to five seconds, and half of the places stay for the others."""

MOST_PUBLISHERS: Final = 4096
"""Publishers that are remembered; one that has been quiet for two seconds has nothing to remember."""


@dataclass(slots=True)
class _Account:
    """What one publisher has asked lately."""

    paid_until: float
    """The loop's time at which its bucket is full again."""
    at_once: int = 0


class Limits:
    """A token bucket and a number of places for each publisher of each org."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], _Account] = {}

    @contextmanager
    def entered(self, org: str, publisher: str, now: float) -> Generator[Rejection | None]:
        """One request of the publisher is being answered; or why it is not. `now` is the loop's time."""
        account = self._accounts.get((org, publisher)) or self._open(org, publisher, now)
        refused = self._charge(account, org, publisher, now)
        account.at_once += 1
        try:
            yield refused
        finally:
            account.at_once -= 1

    def _charge(self, account: _Account, org: str, publisher: str, now: float) -> Rejection | None:
        factor = HOUSE_FACTOR if publisher in (FORECAST, OPERATOR, TRIGGER) else 1
        rate = REQUESTS_PER_SECOND * factor
        begin = max(account.paid_until, now)
        wait = begin - now - (BURST_REQUESTS * factor - 1) / rate
        if wait > 0:
            return _refusal(
                f"{org}/{publisher} asks more than {rate:g} times a second; ask again in {wait * 1000:.0f} ms"
            )
        if account.at_once >= MOST_AT_ONCE:
            return _refusal(
                f"{account.at_once} requests of {org}/{publisher} are being answered already, of at most "
                f"{MOST_AT_ONCE}; ask again in a second"
            )
        account.paid_until = begin + 1 / rate
        return None

    def _open(self, org: str, publisher: str, now: float) -> _Account:
        if len(self._accounts) >= MOST_PUBLISHERS:
            self._accounts = {
                key: one for key, one in self._accounts.items() if one.at_once or one.paid_until > now
            }
        return self._accounts.setdefault((org, publisher), _Account(now))


def _refusal(why: str) -> Rejection:
    return Rejection("TooManyRequests", f"{why}, with the same key. Nothing was stored.")
