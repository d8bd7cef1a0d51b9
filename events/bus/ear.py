"""Who listens on a connection, and goes on listening on the next one."""

from collections.abc import Callable
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

OnMessage = Callable[[Msg], None]


@dataclass(slots=True)
class Ear:
    """A subscription that outlives the connection it was made on."""

    subject: str
    queue: str
    on_message: OnMessage
    on_return: Callable[[], None] | None = None
    """Called whenever the connection was made anew, and when it is closed for good."""
    subscription: Subscription | None = None
