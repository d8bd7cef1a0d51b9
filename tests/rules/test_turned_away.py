"""The exit code of a request that the intake did not take tells whose fault it was."""

import pytest

from schemas.intake import Rejection
from virtscale.ask import TurnedAwayError


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("LedgerFull", 1),
        ("Overloaded", 1),
        ("OrgUnknown", 5),
        ("PoolUnknown", 5),
        ("RequestUnreadable", 2),
    ],
)
def test_a_house_that_cannot_take_a_request_has_failed_and_nobody_called_it_wrongly(
    code: str, exit_code: int
) -> None:
    error = TurnedAwayError(Rejection(code, "No room. Nothing was stored."))
    assert (error.code, error.exit_code, str(error)) == (code, exit_code, "No room. Nothing was stored.")
