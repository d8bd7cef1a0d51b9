"""Keys of those who sign contracts. The provider's are of the org `platform`."""

from events.fact import Fact, Moment
from schemas.contract.document import PublicKey, SignatureValue
from schemas.names import Name
from schemas.request import Key, Reason


class KeyRegisterRequested(Fact, frozen=True):
    """The public key shall be the one by which the org signs from now on.

    The first key needs nothing. One that takes another's place names it and carries the former key's signature over
    the succession, unless the former one was revoked.
    """

    publisher: Name
    key: Key
    public_key: PublicKey
    former: PublicKey | None
    endorsement: SignatureValue | None
    received_at: Moment


class KeyRevokeRequested(Fact, frozen=True):
    """The public key shall be trusted no more: it was lost or stolen."""

    publisher: Name
    key: Key
    public_key: PublicKey
    actor: Name
    reason: Reason
    received_at: Moment


class KeyRegistered(Fact, frozen=True):
    """The org signs by this key from now on; `former` is the one whose place it took."""

    public_key: PublicKey
    former: PublicKey | None
    registered_at: Moment


class KeyRevoked(Fact, frozen=True):
    """Nothing that is handed in from now on counts as signed by this key, and no addendum by it takes effect."""

    public_key: PublicKey
    actor: Name
    reason: Reason
    revoked_at: Moment
