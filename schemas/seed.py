"""What a VM of a customer's own image is told at its first boot, as cloud-init's data source NoCloud reads it.

The words are three small files on a disk of their own. They are checked before anything is made of them: what cloud-init does
not understand it leaves out with a line in a log inside the guest, where nobody looks until somebody cannot log in.
"""

import base64
import binascii
import json
import re
from typing import Final

from schemas.struct import Value

MOST_USER_DATA_BYTES: Final = 16 * 1024
"""Bytes of user data, as they are given. EC2 takes as many, so what runs there fits here."""

MOST_NETWORK_BYTES: Final = 16 * 1024
MOST_KEYS: Final = 32
MOST_KEY_BYTES: Final = 4096
"""One line of a key: RSA with 16,384 bits, the longest that OpenSSH makes, has 2,756 and its comment."""

LEAST_RSA_BITS: Final = 2048

_HOSTNAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_KINDS: Final = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""Kinds of ssh keys, and of how many parts each is made (RFC 4253, RFC 5656, RFC 8709, OpenSSH's PROTOCOL.u2f)."""

_SHOWN: Final = 24
_ED25519_BYTES: Final = 32
_HEADS: Final = (
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#cloud-boothook",
    b"#part-handler",
    b"## template: jinja",
    b"Content-Type:",
    b"MIME-Version:",
    b"\x1f\x8b",
)
"""How user data begins that cloud-init knows what to do with; the last is gzip's."""


class SeedError(ValueError):
    """A VM cannot be told this; `code` is stable, and nothing was made."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Seed(Value, frozen=True):
    """Who a VM is and what it does at its first boot; `check` says whether it may be told.

    User data may hold what is nobody else's to know: it belongs on the seed disk, and into no event, log or error.
    """

    instance_id: str
    """As long as it stays the same, a guest that was told once does nothing again."""
    hostname: str
    keys: tuple[str, ...] = ()
    """OpenSSH public keys, one line each, for the image's usual user."""
    user_data: bytes = b""
    network_config: bytes = b""
    """How its network is set up, in cloud-init's own YAML; the image's own way where it is empty."""

    def __repr__(self) -> str:
        return f"Seed({self.instance_id!r}, {self.hostname!r}, {len(self.keys)} keys, {len(self.user_data)} bytes)"


def check(seed: Seed) -> None:
    """The seed is one that a guest can be told; else `SeedError` with the first thing that is wrong."""
    if _INSTANCE.match(seed.instance_id) is None:
        raise SeedError(
            "InstanceIdInvalid",
            f"{_cut(seed.instance_id)!r} is no instance id: 1 to 128 letters, digits, dots, dashes and underscores, and a letter "
            "or digit first.",
        )
    if _HOSTNAME.match(seed.hostname) is None:
        raise SeedError(
            "HostnameInvalid",
            f"{_cut(seed.hostname)!r} is no hostname: 1 to 63 lower case letters, digits and inner dashes, without a domain.",
        )
    if len(seed.keys) > MOST_KEYS:
        raise SeedError(
            "SshKeyInvalid",
            f"{len(seed.keys)} ssh keys cannot be given to one VM: {MOST_KEYS} at most. Others can be added in the guest.",
        )
    for number, key in enumerate(seed.keys, start=1):
        objection = _wrong_with(key)
        if objection:
            raise SeedError("SshKeyInvalid", f"Ssh key {number} cannot be given to a VM: {objection}")
    if len(seed.user_data) > MOST_USER_DATA_BYTES:
        raise SeedError(
            "UserDataTooLarge",
            f"The user data has {len(seed.user_data)} bytes, and {MOST_USER_DATA_BYTES} is the limit of the platform; put what is "
            "large where the VM can fetch it, or compress it with gzip.",
        )
    if seed.user_data and not seed.user_data.startswith(_HEADS):
        raise SeedError(
            "UserDataUnknown",
            "The user data begins as nothing that cloud-init knows, and it would be left out without a word; begin it with "
            "`#cloud-config`, or with `#!` when it is a script.",
        )
    if len(seed.network_config) > MOST_NETWORK_BYTES:
        raise SeedError(
            "NetworkConfigTooLarge",
            f"The network configuration has {len(seed.network_config)} bytes, and {MOST_NETWORK_BYTES} is the limit of the platform.",
        )


def files(seed: Seed) -> dict[str, bytes]:
    """The seed's files by name; the same seed gives the same bytes. Raises `SeedError`.

    Both of NoCloud's files are there even where one is empty: without either the disk is no seed. Every value stands in
    quotes, because YAML reads a host `no` as false and a host `1e3` as a number.
    """
    check(seed)
    lines = [
        f"instance-id: {json.dumps(seed.instance_id)}",
        f"local-hostname: {json.dumps(seed.hostname)}",
    ]
    if seed.keys:
        lines.append("public-keys:")
        lines += [f"  - {json.dumps(key.strip(), ensure_ascii=False)}" for key in seed.keys]
    named = {"meta-data": ("\n".join(lines) + "\n").encode(), "user-data": seed.user_data}
    if seed.network_config:
        named["network-config"] = seed.network_config
    return named


def _wrong_with(key: str) -> str | None:
    """What is wrong with one line of an `authorized_keys` file, as the end of a sentence; None when it is a key and no more."""
    line = key.strip(" \t\r\n")
    if len(line.encode()) > MOST_KEY_BYTES:
        return f"it has {len(line.encode())} bytes, and {MOST_KEY_BYTES} is the limit of the platform."
    kind, _, rest = line.partition(" ")
    encoded = rest.strip().partition(" ")[0]
    if not line.isprintable() or not encoded:
        return "it is not one line of a kind, a key and a comment, as `ssh-keygen -y` prints it."
    if kind not in _KINDS:
        if any(word in _KINDS for word in line.split()):
            return "it has options before it; write the key alone, and set options in the guest."
        return f"{_cut(kind)!r} is no kind of key that is taken ({', '.join(_KINDS)})."
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return f"what follows {kind} is not base64; copy the whole line anew."
    parts = _parts(blob, _KINDS[kind])
    if parts is None or parts[0] != kind.encode():
        return f"what follows {kind} is not a key of that kind, or was cut; copy the whole line anew."
    if kind == "ssh-rsa" and (bits := int.from_bytes(parts[2], "big").bit_length()) < LEAST_RSA_BITS:
        return f"it is RSA with {bits} bits, and {LEAST_RSA_BITS} is the least that is taken; make one with `ssh-keygen -t ed25519`."
    if kind.endswith("ed25519") and len(parts[1]) != _ED25519_BYTES:
        return f"what follows {kind} is not a key of that kind, or was cut; copy the whole line anew."
    return None


def _parts(blob: bytes, number: int) -> list[bytes] | None:
    """The parts of a key, each with its length before it; None unless they are so many and fill it to its end."""
    parts: list[bytes] = []
    at = 0
    while at < len(blob) and len(parts) < number:
        length = int.from_bytes(blob[at : at + 4], "big")
        part = blob[at + 4 : at + 4 + length]
        if len(part) != length:
            return None
        parts.append(part)
        at += 4 + length
    return parts if len(parts) == number and at == len(blob) else None


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
