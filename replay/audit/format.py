"""What stands in the README of an export: the format, for somebody who has none of our code."""

from typing import Final

README: Final = """\
# A ledger, to be checked by anyone

{size} events of the log `{origin}`, under the signed checkpoint in the file `checkpoint`. Everything here follows public
specifications (RFC 6962 hashing; C2SP signed-note, tlog-checkpoint and tlog-tiles), so that any verifier of these can
read it.

| file | what it is |
|---|---|
| `checkpoint` | three lines: the log's name, the number of events, the root of the tree in base64; then a blank line and signatures. It is written last: an export without it was cut short |
| `vkey` | the public key, as `name+id+key`. It proves that the export fits itself. That it is the operator's key you must know from elsewhere |
| `tile/entries/NNN` | 256 entries, each with its length in two bytes before it (big-endian). Entry *i* of file *n* is sequence 256 n + i + 1 |
| `tile/0/NNN` | the hashes of these 256 entries, 32 bytes each |
| `tile/1/NNN`, `tile/2/NNN` ... | each hash is that of a whole tile of the level below |
| `NNN.p/W` | the last, unfinished file of its kind, with W entries or hashes |
| `schemas/` | JSON Schema of every type of event, by name and version |

Numbers of files above 999 are written in groups of three digits, all but the last with an `x` before them: file 1234 is
`x001/234`.

## An entry

| bytes | what |
|---|---|
| 19 | `virtscale-entry/v1` and a line feed |
| 8 | sequence, from 1, big-endian as all numbers here |
| 8 | when the bus stored it: nanoseconds since 1970 |
| 2, then so many | length of the subject, and the subject |
| 2, then so many | length of the message id, and the id; without one it is no event, and means nothing |
| the rest | the event: CloudEvents 1.0 in JSON, whose `type` names its schema |

## Checking it

1. The checkpoint: the text up to and including the line feed before the blank line was signed with Ed25519. A signature line is
   `- NAME BASE64` (with an em dash), and the base64 holds four bytes that name the key, then 64 bytes of signature. `vkey`
   ends with the base64 of one byte 01 and the 32 bytes of the public key.
2. A leaf is SHA-256 of a zero byte and the entry. A node is SHA-256 of a byte 01, its left and its right hash.
3. The root is that of RFC 6962, section 2.1: left of the root stands the largest complete tree of a power of two of leaves.
   Compute it from the entries alone and compare it with the checkpoint's: then no event was altered, dropped or slipped in.
4. Any other checkpoint of this log, older or newer, must be of the same history: the root over its number of entries
   must be its root.

With the program itself: `virtscale ledger verify --from THIS --vkey KEYFILE`.
"""
