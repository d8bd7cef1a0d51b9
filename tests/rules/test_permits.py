"""`virtscale permit` and `permissions`: what is refused before anything is asked, and what is shown."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from events.permission import PermissionGranted, PermissionRevoked
from tests.given import ORG, Past
from tests.rules.test_breaker_views import keep
from virtscale import cli
from virtscale.crew import VIEWS
from virtscale.invocation import UsageError
from virtscale.permits import standing


def granted(past: Past, holder: str, reason: str = "on call") -> PermissionGranted:
    return PermissionGranted(ORG, holder, "sudo-srv", "root", reason, past.now)


def shown(
    past: Past,
    where: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
) -> str:
    monkeypatch.setenv("VIRTSCALE_HOUSE", str(where))
    asyncio.run(keep(past, where / VIEWS))
    cli.app(["permissions", *words], result_action="return_value")
    return capsys.readouterr().out


def test_who_has_a_permission_is_shown_with_who_gave_it_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past()
    past.happened(granted(past, "ci"))
    past.happened(granted(past, "bot"))
    past.happened(PermissionRevoked(ORG, "bot", "sudo-srv", "root", "done", past.now))
    (row,) = json.loads(shown(past, tmp_path, monkeypatch, capsys, "-o", "json"))
    assert (row["org"], row["holder"], row["permission"]) == (ORG, "ci", "sudo-srv")
    assert (row["actor"], row["reason"]) == ("root", "on call")


def test_a_reason_with_control_characters_does_nothing_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past()
    past.happened(granted(past, "ci", "\x1b[2Jgone"))
    assert "\\x1b[2Jgone" in shown(past, tmp_path, monkeypatch, capsys)


HOUSE: Any = None
"""Never looked at: what is refused here is refused before the house is."""


@pytest.mark.parametrize(
    ("org", "holder", "words"),
    [
        ("Acme", "ci", "'Acme' is no name of an org"),
        ("acme", "", "'' is no name of a publisher"),
        ("acme", "operator", "The operator has every permission"),
    ],
)
def test_a_name_that_nobody_can_have_is_refused_before_anything_is_asked(
    org: str, holder: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        standing.permit(HOUSE, org, holder, "sudo-srv", "why", "root", revoke=False)


@pytest.mark.parametrize(
    ("code", "revoke", "words"),
    [
        ("Done", False, "ci has sudo-srv."),
        ("Done", True, "ci has sudo-srv no more."),
        ("AlreadyDone", False, "ci had sudo-srv already: nothing was changed."),
        ("AlreadyDone", True, "ci had no sudo-srv: nothing was changed."),
    ],
)
def test_each_outcome_has_its_sentence(code: str, *, revoke: bool, words: str) -> None:
    assert standing.outcome("ci", "sudo-srv", code, revoke=revoke) == words
