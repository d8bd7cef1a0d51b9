"""Checks what a ledger says of one event, with PyNaCl alone: python check_refusal.py PROOF ENTRY VKEY."""

import json
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from nacl.signing import VerifyKey

proof, entry, key = (Path(name).read_bytes() for name in sys.argv[1:4])


def require(*, holds: bool, otherwise: str) -> None:
    """Goes on only if it holds."""
    if not holds:
        sys.exit(f"not proven: {otherwise}")


def node(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees (RFC 6962)."""
    return sha256(b"\x01" + left + right).digest()


# The proof: its index, the hashes beside the way up, and under a blank line the checkpoint that was signed.
head, checkpoint = proof.decode().split("\n\n", 1)
format_, index, *path = head.split("\n")
require(holds=format_ == "c2sp.org/tlog-proof@v1", otherwise="no proof")
place = int(index.removeprefix("index "))

# The signature, by the operator's key and no other.
text, signatures = checkpoint.split("\n\n", 1)
origin, size, root = (text + "\n").split("\n")[:3]
name, key_id, public = key.decode().strip().split("+", 2)
[signature] = [
    b64decode(line.split(" ")[2]) for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")
]
require(holds=name == origin and signature[:4].hex() == key_id, otherwise="the key of another log")
VerifyKey(b64decode(public)[1:]).verify((text + "\n").encode(), signature[4:])

# The way up, from the entry to the root that was signed (RFC 9162, 2.1.3.2).
found, at, last = sha256(b"\x00" + entry).digest(), place, int(size) - 1
require(holds=0 <= at <= last, otherwise="behind the end")
for step in map(b64decode, path):
    require(holds=last > 0, otherwise="too long a way")
    if at % 2 or at == last:
        found = node(step, found)
        while at and not at % 2:
            at, last = at // 2, last // 2
    else:
        found = node(found, step)
    at, last = at // 2, last // 2
require(holds=not last and found == b64decode(root), otherwise="the entry is not in this log")

# The entry: prefix, sequence and time of storage, subject and message id, each with its length, then the event.
begins = b"virtscale-entry/v1\n" + (place + 1).to_bytes(8)
require(holds=entry.startswith(begins), otherwise="no entry of this place")
subject_end = 37 + int.from_bytes(entry[35:37])
event = json.loads(entry[subject_end + 2 + int.from_bytes(entry[subject_end : subject_end + 2]) :])
print(f"proven: event {place + 1} of {size} in {origin}, {event['type']}, {event['time']}")
for answer in event["data"].get("answers", ()):
    print(f"{answer['outcome']}, {answer['code']}: {answer['granted']} of {answer['asked']} granted")
    for line in answer["evidence"]:
        print(f"  {line['dimension']}: {line['projected']} wanted in all, {line['limit']} allowed")
