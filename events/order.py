"""What became of the gate's orders when nobody says so."""

from events.fact import Fact, Moment
from schemas.names import Id, Name, Word


class OrderOverdue(Fact, frozen=True):
    """An order is past its time without an outcome: an alarm. Usage stays, for unknown counts as awake."""

    vm: Name
    order: Id
    kind: Word
    due_at: Moment
    observed_at: Moment
