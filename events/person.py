"""People leave; what the ledger says of them stays true without naming them."""

from events.fact import Fact, Moment
from schemas.names import Name
from schemas.request import Key


class PersonEraseRequested(Fact, frozen=True):
    """The person's values shall be made unreadable for good."""

    person: Name
    publisher: Name
    key: Key
    received_at: Moment


class PersonErased(Fact, frozen=True):
    """The person's key is destroyed: every copy of the vault now holds noise in their place."""

    person: Name
    existed: bool
    erased_at: Moment
