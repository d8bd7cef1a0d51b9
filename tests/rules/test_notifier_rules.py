"""Which answers become mails, in which words, and how long the notifier keeps trying."""

import datetime as dt

import pytest

from events.gate import Answer
from events.scale import Sample, ScaleRequested
from services.notifier.decide import GIVE_UP_SECONDS, is_refusal, pause_seconds
from services.notifier.port import Mail
from services.notifier.refusal import Refusal
from services.notifier.state import Post
from tests.rules.desk import REF, answer
from tests.simulation.clock import EPOCH

REQUEST = "a" * 32


def wish(sample: Sample | None = None) -> ScaleRequested:
    return ScaleRequested(
        org="acme",
        pool="web",
        publisher="shop" if sample is None else "signal",
        key="k\r\nBcc: all@acme.test",
        origin="program" if sample is None else "trigger",
        add=500,
        want=None,
        up_to=False,
        received_at=EPOCH,
        sample=sample,
    )


def written(refused: Answer, asked: ScaleRequested | None) -> Mail:
    refusal = Refusal(
        org="acme",
        person="acme-owner",
        answer=refused,
        contract=REF,
        wish=asked,
        seq=18,
        refused_at=EPOCH,
        digest_at=EPOCH + dt.timedelta(minutes=15),
        digest_seconds=900,
    )
    return refusal.errand().to("owner@acme.test")


@pytest.mark.parametrize(
    ("outcome", "code", "told"),
    [
        ("refused", "CapExceeded", True),
        ("partial", "CapExceeded", True),
        ("refused", "ContractExpired", True),
        ("refused", "HostsFull", False),
        ("refused", "Cooldown", False),
        ("admitted", "Granted", False),
        ("unchanged", "AlreadyAtDesired", False),
    ],
)
def test_the_owner_is_told_of_what_the_contract_refused(outcome: str, code: str, told: bool) -> None:  # noqa: FBT001 - a column of the table
    refused = answer(REQUEST, 17, outcome, code)  # pyright: ignore[reportArgumentType]
    assert is_refusal(refused) is told


def test_a_mail_says_the_numbers_who_asked_when_and_what_to_do() -> None:
    mail = written(answer(REQUEST, 17), wish())
    assert mail.message_id == f"<{REQUEST}@virtscale.acme>"
    assert mail.subject == "Virtscale refused 500 VMs for acme/web: CapExceeded"
    for words in (
        "would take acme to 596 vCPU (90 in use, 6 reserved, 500 requested)",
        "the signed cap is 110 (quota 100 + 10 %, contract acme-2026 version 1). Nothing was started.",
        "Asked by:  shop",
        "2026-11-22 09:00:00.000 UTC",
        f"{REQUEST} (ledger sequence 17, decided in 18)",
        "raised by at least 486 vCPU in an addendum",
        "Further refusals until 09:15 UTC come together, in one digest at that time, and so every 15 minutes",
    ):
        assert words in mail.text
    assert "Bcc" not in mail.text, "what an outsider wrote is not repeated"


def test_a_mail_about_a_trigger_names_the_sample() -> None:
    mail = written(answer(REQUEST, 17), wish(Sample("p99_ms", 312.5, 250.0, EPOCH)))
    assert "Asked by:  signal, for pool web: 312.5 is above 250" in mail.text


def test_a_partial_grant_and_an_expired_contract_have_their_own_words() -> None:
    assert "granted 1 of 500 VMs" in written(answer(REQUEST, 17, "partial"), wish()).subject
    expired = written(answer(REQUEST, 17, "refused", "ContractExpired"), None)
    assert "is not valid at this time: have it renewed" in expired.text
    assert "Asked by:  unknown" in expired.text


def test_attempts_are_quick_for_thirty_seconds_then_slow_and_end_after_an_hour() -> None:
    pauses: list[float] = []
    elapsed, attempts = 0.0, 1
    while (pause := pause_seconds(attempts, elapsed)) is not None:
        pauses.append(pause)
        elapsed += pause
        attempts += 1
    assert pauses[:6] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    quick = [pause for pause in pauses if pause < 60]
    assert 26 <= sum(quick) < 30
    assert set(pauses[len(quick) :]) == {60.0}
    assert GIVE_UP_SECONDS <= elapsed < GIVE_UP_SECONDS + 60


def test_the_post_begins_empty() -> None:
    assert list(Post().due(0)) == []
    assert Post().next_ns(0) is None
    assert list(Post().erasures()) == []
