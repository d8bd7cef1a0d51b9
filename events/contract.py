"""Contracts change what the gate may admit: submitted by somebody, accepted by the gate, in effect from an instant on."""

import msgspec

from events import v1
from events.fact import Fact, Moment
from schemas.contract.document import Signed
from schemas.contract.terms import Contract, Fingerprint, canonical
from schemas.intake import Key
from schemas.names import Count, Name, Word


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


def from_v1(fact: Fact) -> ContractTookEffect:
    """The first contracts were files that nobody signed: the same terms as a document without signatures."""
    assert isinstance(fact, v1.ContractTookEffect), fact
    members = msgspec.to_builtins(fact.contract) | {"format": 2}
    # Version 1 amended by handing in a higher version; there is no document that it could name.
    text = canonical(msgspec.convert(members, Contract))
    return ContractTookEffect(
        org=fact.org,
        document=Signed(text, ()),
        fingerprint=fact.fingerprint,
        took_effect_at=fact.took_effect_at,
    )
