"""Signatures over a contract: ed25519 (RFC 8032) by libsodium, which refuses malleable and small-order forms.

What is signed is not the text alone but who signs and when, so that one side's signature is never taken for the
other's: `virtscale contract signature 1`, role, instant, text, each on a line of its own, the text last.
"""

import datetime as dt
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from schemas.contract.document import ROLES, Role, Signature, Signed

_CONTEXT: Final = "virtscale contract signature 1"


def message(text: str, role: Role, signed_at: dt.datetime) -> bytes:
    """The bytes that a side signs."""
    return f"{_CONTEXT}\n{role}\n{signed_at.isoformat().replace('+00:00', 'Z')}\n{text}".encode()


def sign(signed: Signed, role: Role, key: SigningKey, signed_at: dt.datetime) -> Signed:
    """The document with this side's signature, in the place of any former one of the same side."""
    instant = signed_at.astimezone(dt.UTC).replace(microsecond=0)
    value = key.sign(message(signed.text, role, instant)).signature.hex()
    own = Signature(role=role, key=bytes(key.verify_key).hex(), signed_at=instant, value=value)
    others = [one for one in signed.signatures if one.role != role]
    return Signed(signed.text, tuple(sorted([*others, own], key=lambda one: ROLES.index(one.role))))


def genuine(signed: Signed, signature: Signature) -> bool:
    """Whether the signature was made with the key that it names, over this very text, in this role, at this time."""
    return verifies(signature.key, message(signed.text, signature.role, signature.signed_at), signature.value)


def verifies(key: str, said: bytes, value: str) -> bool:
    """Whether the holder of the public key signed these bytes; key and value are hexadecimal."""
    try:
        VerifyKey(bytes.fromhex(key)).verify(said, bytes.fromhex(value))
    except BadSignatureError:
        return False
    return True


def succession(org: str, former: str, key: str) -> bytes:
    """What the holder of a key signs when another is to take its place."""
    return f"virtscale key succession 1\n{org}\n{former}\n{key}".encode()
