"""Checks both signatures of a contract file, with PyNaCl alone: python verify_contract.py FILE PROVIDER_KEY ORG_KEY."""

import json
import sys
import tomllib
from datetime import datetime
from pathlib import Path

from nacl.signing import VerifyKey

file = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
signatures = {one["role"]: one for one in file.pop("signatures")}
file["amends"], file["pools"] = file.get("amends"), file.get("pools", {})
seconds = ("cooldown_seconds", "drain_seconds", "horizon_seconds", "readiness_seconds")
file["pools"] = {name: dict.fromkeys(seconds) | pool for name, pool in file["pools"].items()}


def said(instant: datetime) -> str:
    """An instant as the signed text has it."""
    return instant.isoformat().replace("+00:00", "Z")


text = json.dumps(file, sort_keys=True, separators=(",", ":"), default=said)
for role, key in zip(("provider", "org"), sys.argv[2:], strict=True):
    one = signatures[role]
    message = f"virtscale contract signature 1\n{role}\n{said(one['signed_at'])}\n{text}".encode()
    VerifyKey(bytes.fromhex(key)).verify(message, bytes.fromhex(one["value"]))
    print(f"{role}: genuine, signed at {said(one['signed_at'])}")
