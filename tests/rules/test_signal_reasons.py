"""What is stored can be shown: no word of a request moves a cursor, ends a line or hides one."""

import msgspec
import pytest

from schemas.intake import Rejection
from services.signal.decide import Asked, judge, read
from services.signal.known import Known
from tests.given import NOW, ORG, Past

WORDS = ["freeze", "thaw", "revoke-key", "host"]


def asked(verb: str, reason: str) -> Asked:
    members = {"key": "k", "actor": "ann", "reason": reason}
    own = {
        "freeze": {"seconds": 60},
        "thaw": {},
        "revoke-key": {"public_key": "0" * 64},
        "host": {"host": "h1", "change": "drain"},
    }[verb]
    org = "platform" if verb == "host" else ORG
    found = read(f"in.{org}.operator.{verb}", msgspec.json.encode(members | own))
    assert isinstance(found, Asked)
    return found


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize("reason", ["two\nlines", "\x1b[2Jgone", "\x00", "right\u202eleft"])
def test_a_reason_that_is_no_plain_line_is_refused_at_the_door(verb: str, reason: str) -> None:
    past = Past().contract().host()
    known = Known(past.usage, past.fleet, past.state.contracts)
    refused = judge(asked(verb, reason), known, NOW)
    assert isinstance(refused, Rejection)
    assert refused.code == "ReasonUnprintable"
    assert not isinstance(judge(asked(verb, "für Wartung, naïve"), known, NOW), Rejection)
