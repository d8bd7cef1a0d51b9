"""Ids are derived, never drawn: the same cause gives the same id, so a repeat is known for one."""

import hashlib


def derive(*parts: str | int) -> str:
    """128 bits as 32 hexadecimal digits from the parts, in order; no two different lists collide by joining.

    The usual parts are cause, type, entity and attempt; a request has org, publisher and the caller's
    idempotency key; an observation has a natural key such as domain, boot id and state.
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = str(part).encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.hexdigest()[:32]
