"""Which trips there are under which reservation, and on which host it holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Reservations:
    """The orders of trips by the reservation that they are under.

    A reservation is **left** once nothing that is told of it changes a trip any more; its orders can be asked for until
    `settle` is said.
    """

    _trips: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _left: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _hosts: dict[str, str] = field(default_factory=dict[str, str])
    _on_host: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])

    def begin(self, reservation: str, order: str, host: str | None) -> None:
        """One more trip under the reservation; `host` is said by the order that the reservation began with."""
        self._trips.setdefault(reservation, []).append(order)
        if host is not None and reservation not in self._hosts:
            self._hosts[reservation] = host
            self._on_host.setdefault(host, {})[reservation] = None

    def going_on(self, reservation: str) -> Iterable[str]:
        """The orders of the trips under it; none once it is left."""
        return self._trips.get(reservation, ())

    def known(self, reservation: str) -> Iterable[str]:
        """The orders of the trips under it, left or not, of those that are not settled."""
        return (*self._left.get(reservation, ()), *self._trips.get(reservation, ()))

    def on(self, host: str) -> Iterable[str]:
        """The reservations that are known to hold on the host, and are not left."""
        return tuple(self._on_host.get(host, ()))

    def leave(self, reservation: str) -> Iterable[str]:
        """The reservation is left; the orders of the trips that are over with it."""
        host = self._hosts.pop(reservation, None)
        if host is not None:
            del self._on_host[host][reservation]
        orders = self._trips.pop(reservation, [])
        if orders:
            self._left.setdefault(reservation, []).extend(orders)
        return orders

    def settle(self) -> None:
        """What was left is forgotten."""
        self._left.clear()
