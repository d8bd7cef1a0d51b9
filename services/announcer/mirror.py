"""What the load balancer has, as far as is known: the last look, and every call that was answered since."""

from services.announcer.port import Balancer, Server, ServerState

Place = tuple[str, str]
"""A backend, and the name of a server in it."""


class Mirror:
    """The image of one load balancer, kept by whoever calls it through here.

    A look takes a moment. What was called of a server meanwhile is newer than what the look saw, so such
    servers keep the image that their calls gave them until the next look.
    """

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self._calling: dict[Place, int] = {}
        self._called: set[Place] = set()
        self.servers: dict[Place, Server] = {}
        self.known = False
        """There was a look: a server that is not here is not there."""
        self.looked_at = 0.0
        """When the last look that succeeded began, on the loop's clock."""

    async def look(self, now: float) -> None:
        """The image is what the load balancer has now; `BalancerError` when it does not say."""
        self._called = set(self._calling)
        found = await self._balancer.servers()
        fresh = {place: server for place, server in found.items() if place not in self._called}
        kept = {place: server for place, server in self.servers.items() if place in self._called}
        self.servers = fresh | kept
        self.looked_at = now
        self.known = True

    async def add(self, place: Place, address: str) -> None:
        """The server is there, in maintenance."""
        self._begin(place)
        try:
            await self._balancer.add(*place, address)
            self.servers[place] = Server(*place, address, "maint")
        finally:
            self._end(place)

    async def set_state(self, place: Place, state: ServerState) -> None:
        """The server has this state."""
        self._begin(place)
        try:
            await self._balancer.set_state(*place, state)
            known = self.servers.get(place)
            if known is not None:
                self.servers[place] = Server(*place, known.address, state, known.sessions)
        finally:
            self._end(place)

    async def cut(self, place: Place) -> int:
        """The sessions that were still open are closed; how many."""
        self._begin(place)
        try:
            return await self._balancer.cut(*place)
        finally:
            self._end(place)

    async def remove(self, place: Place) -> bool:
        """The server is gone, or it cannot go yet."""
        self._begin(place)
        try:
            gone = await self._balancer.remove(*place)
            if gone:
                self.servers.pop(place, None)
        finally:
            self._end(place)
        return gone

    def _begin(self, place: Place) -> None:
        self._calling[place] = self._calling.get(place, 0) + 1
        self._called.add(place)

    def _end(self, place: Place) -> None:
        self._calling[place] -= 1
        if not self._calling[place]:
            del self._calling[place]
