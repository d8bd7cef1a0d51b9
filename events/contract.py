"""Contracts change what the gate may admit: submitted by somebody, accepted by the gate, in effect from an instant on."""

from events.fact import Fact, Moment
from schemas.contract.document import Signed
from schemas.contract.terms import Fingerprint
from schemas.names import Count, Name, Word
from schemas.request import Key


class ContractSubmitted(Fact, frozen=True):
    """Somebody handed in a signed document that shall become the authority over the org's capacity."""

    publisher: Name
    key: Key
    document: Signed
    fingerprint: Fingerprint
    received_at: Moment


class ContractAccepted(Fact, frozen=True):
    """The gate found the document signed by both sides and in order; it takes effect at `effective_at`.

    A contract does so at once, an addendum after its notice. Both instants are by the clock of the gate.
    """

    document: Signed
    fingerprint: Fingerprint
    contract: Name
    version: Count
    accepted_at: Moment
    effective_at: Moment


class ContractTookEffect(Fact, frozen=True):
    """From here on the org's envelope is this document's; appended together with a decision, under the fence.

    The document is the same that was accepted, once more, so that this event is enough to know the terms.
    """

    document: Signed
    fingerprint: Fingerprint
    took_effect_at: Moment


class ContractVoided(Fact, frozen=True):
    """An accepted addendum will not take effect: `code` is `KeyRevoked` when a key that signed it was revoked since."""

    fingerprint: Fingerprint
    contract: Name
    version: Count
    code: Word
    voided_at: Moment
