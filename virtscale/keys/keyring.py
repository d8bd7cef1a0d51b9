"""`virtscale key …`: keys are made, registered, replaced, revoked and listed; the secret half never leaves its file."""

import asyncio
import datetime as dt
import os
import re
from pathlib import Path
from typing import Final

from schemas.contract import signing
from schemas.house import FILE, House, load
from schemas.intake import RegisterKey, RevokeKey
from schemas.names import PLATFORM
from virtscale import views
from virtscale.amounts import said
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import UsageError, require_org
from virtscale.keys import signers
from virtscale.ruled import Ruled, ruled
from virtscale.show import Format, say, show

PROVIDER: Final = "provider"
"""What people call the org `platform` where signatures are concerned."""

_SHOWN: Final = 8


def owner(word: str) -> str:
    """The org whose key it is; the provider's is that of the platform."""
    return PLATFORM if word == PROVIDER else require_org(word)


def new(house: House | None, word: str, path: Path | None, form: Format) -> int:
    """A new key is in its file; only its public half is shown."""
    org = owner(word)
    if path is None:
        assert house is not None
        path = signers.path_of(house.signing_keys, org)
    key = signers.create(path)
    show([{"org": org, "public": signers.public(key), "secret_in": os.path.relpath(path)}], form)
    return EXIT_DONE


def register(house: House, word: str, public: str | None, former: str | None, endorsement: str | None) -> int:
    """The gate has answered whether the key is the org's from now on; the exit code."""
    org = owner(word)
    if public is None:
        public = signers.public(signers.read(signers.path_of(house.signing_keys, org)))
    if former is not None:
        _require_hexadecimal(former, 64, "public key")
    if endorsement is not None:
        _require_hexadecimal(endorsement, 128, "signature")
    _require_hexadecimal(public, 64, "public key")
    request = RegisterKey(key=new_key(), public_key=public, former=former, endorsement=endorsement)
    done = asyncio.run(ruled(house, org, request))
    if done.answer.outcome == "admitted":
        say(f"{org} signs by {public} from now on.")
    elif done.answer.code == "KeyNotCurrent":
        say(
            f"{org} has another key already, which must sign for its successor: `virtscale key rotate {word}`."
        )
    else:
        say(_told(done, public))
    return done.exit_code


def rotate(house: House, word: str) -> int:
    """The org signs by a new key; the former one is kept beside it under its own name.

    Safe to repeat after a crash at any line: the successor lies in its file before anybody hears of it, and asking for
    it again is answered that it is so already.
    """
    org = owner(word)
    present = signers.path_of(house.signing_keys, org)
    successor = present.with_name(f"{org}.next.ed25519")
    key = signers.read(successor) if successor.exists() else signers.create(successor)
    public, replaced = signers.public(key), ""
    request = RegisterKey(key=new_key(), public_key=public)
    if present.exists():
        former = signers.read(present)
        replaced = signers.public(former)
        endorsement = former.sign(signing.succession(org, replaced, public)).signature.hex()
        request = RegisterKey(key=new_key(), public_key=public, former=replaced, endorsement=endorsement)
    done = asyncio.run(ruled(house, org, request))
    if done.answer.code == "KeyNotCurrent" and replaced:
        # The former key was revoked, perhaps: then nobody can endorse, and the gate takes a key without that.
        done = asyncio.run(ruled(house, org, RegisterKey(key=new_key(), public_key=public)))
    if done.answer.outcome == "refused":
        say(_told(done, public))
        return done.exit_code
    if replaced:
        present.rename(present.with_name(f"{org}.replaced-{replaced[:_SHOWN]}.ed25519"))
    successor.rename(present)
    say(f"{org} signs by {public} from now on" + (f", in the place of {replaced}." if replaced else "."))
    return EXIT_DONE


def revoke(house: House, word: str, public: str, reason: str, actor: str | None) -> int:
    """The key is trusted no more, as the gate says; the exit code."""
    org = owner(word)
    _require_hexadecimal(public, 64, "public key")
    request = RevokeKey(key=new_key(), public_key=public, actor=actor_of(actor), reason=checked(reason))
    done = asyncio.run(ruled(house, org, request))
    if done.answer.outcome == "admitted":
        say(
            f"{public} of {org} is revoked: nothing that is handed in from now on counts as signed by it, and no addendum "
            "that it signed takes effect."
        )
    else:
        say(_told(done, public))
    return done.exit_code


def show_keys(directory: Path, form: Format) -> int:
    """Every registered key, and where its secret half lies on this machine, if it does."""
    places = _places(directory)
    with views.opened(directory) as base:
        rows = base.rows(views.SIGNING_KEYS)
    listed: list[views.Row] = [{**row, "secret_in": places.pop(str(row["key"]), None)} for row in rows]
    for public, path in sorted(places.items(), key=lambda item: item[1]):
        org = Path(path).name.split(".")[0]
        listed.append({"org": org, "key": public, "state": "not registered", "secret_in": path})
    if form == "table":
        shown = [{**row, "since": _since(row)} for row in listed]
        show(shown, form, columns=["org", "key", "state", "since", "secret_in"])
    else:
        show(listed, form)
    return EXIT_DONE


def _since(row: dict[str, str | int | float | None]) -> str | None:
    instant = row.get("ended_at") or row.get("registered_at")
    return said(dt.datetime.fromisoformat(str(instant))) if instant else None


def _places(directory: Path) -> dict[str, str]:
    """Public keys whose secret half is in a file of this house, with that file."""
    if not (directory / FILE).exists():
        return {}
    found: dict[str, str] = {}
    for path in sorted(Path(load(directory).signing_keys).glob("*.ed25519")):
        try:
            found[signers.public(signers.read(path))] = os.path.relpath(path)
        except signers.SignerError as error:
            say(str(error))
    return found


def _told(done: Ruled, public: str) -> str:
    return f"{public[:16]}…: {done.text} [{done.answer.code}]"


def _require_hexadecimal(text: str, digits: int, what: str) -> None:
    if re.fullmatch(rf"[0-9a-f]{{{digits}}}", text, re.ASCII) is None:
        raise UsageError(f"{text!a:.40} is no {what}: write {digits} hexadecimal digits in lower case.")
