"""What fails to wake is not tried for ever: a breaker opens, and says so."""

from typing import Literal

from events.fact import Fact, Moment
from schemas.names import Count, Name, Word

Scope = Literal["host", "template"]
"""What is not used while the breaker is open: the pool's VMs of one host, or new VMs of one template."""


class BreakerOpened(Fact, frozen=True):
    """The pool's VMs are not woken there until `until`, after so many failures in a row; appended under the fence."""

    pool: Name
    scope: Scope
    name: Name
    """The host or the template."""
    failures: Count
    code: Word
    """The last failure's."""
    opened_at: Moment
    until: Moment


class BreakerClosed(Fact, frozen=True):
    """A VM woke there again, after the breaker's time was over."""

    pool: Name
    scope: Scope
    name: Name
    closed_at: Moment
