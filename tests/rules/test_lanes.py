"""Which tests run beside which when they run in two processes."""

from pathlib import Path

from tests.lanes import SECOND, turn

ROOT = Path(__file__).resolve().parents[2]


def test_the_seams_of_the_second_lane_are_there() -> None:
    assert [file for file in SECOND if not (ROOT / file).is_file()] == []


def test_each_lane_has_its_seams_before_what_only_computes() -> None:
    mail, up, rules, tidy = (
        "tests/seams/test_mail.py",
        "tests/seams/test_up.py",
        "tests/rules/test_why.py",
        "tests/test_tidy.py",
    )
    assert sorted([rules, mail, tidy, up], key=turn) == [up, mail, rules, tidy]
