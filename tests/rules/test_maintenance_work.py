"""What is done of all that was asked for one VM: one reboot, last, and nothing that was taken back."""

import pytest

from schemas.activity import Activity, Change
from schemas.maintenance import chosen
from services.steward.work import combine, needed_seconds, restores_notice
from tests.rules.steward_desk import resize, wish

POLICY = chosen("maintenance-12h")


def kinds(*asked: Activity) -> list[str]:
    return [step.kind for step in combine(asked).steps]


def test_the_reboot_comes_last_whenever_it_was_asked_for() -> None:
    assert kinds(wish(1, "reboot"), wish(2, "other"), wish(3, "other")) == ["other", "other", "reboot"]


def test_two_reboots_are_one_and_the_cold_one_beats_the_warm_one() -> None:
    assert kinds(wish(1, "reboot"), wish(2, "reboot")) == ["reboot"]
    for asked in ((wish(1, "reboot"), wish(2, "cold-reboot")), (wish(2, "cold-reboot"), wish(1, "reboot"))):
        assert kinds(*asked) == ["cold-reboot"]


def test_a_resizes_reboot_makes_a_plain_one_unnecessary() -> None:
    assert kinds(wish(1, "reboot"), resize(2)) == ["resize"]
    assert kinds(wish(1, "cold-reboot"), resize(2)) == ["resize"]


def test_a_warm_reboot_of_an_image_does_not_do_for_a_cold_one_which_does_for_both() -> None:
    work = combine([wish(1, "image-update"), wish(2, "cold-reboot")])
    assert [step.kind for step in work.steps] == ["image-update", "cold-reboot"]
    assert work.impact == "cold-reboot"
    assert kinds(wish(1, "image-update"), wish(2, "reboot")) == ["image-update"]


def test_a_change_and_its_inverse_leave_nothing_to_do() -> None:
    assert combine([resize(1, before=2, after=4), resize(2, before=4, after=2)]).steps == ()


def test_a_wish_for_the_size_that_still_is_takes_the_resize_back_too() -> None:
    assert combine([resize(1, before=2, after=4), resize(2, before=2, after=2)]).steps == ()


def test_the_reboot_that_a_resize_made_unnecessary_is_needed_again_once_that_is_taken_back() -> None:
    asked = (wish(1, "reboot"), resize(2, before=2, after=4), resize(3, before=4, after=2))
    assert kinds(*asked) == ["reboot"]


def test_of_two_resizes_the_last_word_counts_from_what_was_first() -> None:
    (step,) = combine([resize(1, before=2, after=4), resize(2, before=4, after=8)]).steps
    assert step.changes == (Change("vcpu", "2", "8"),)


def test_two_changes_as_one_are_as_strong_as_long_and_as_significant_as_either() -> None:
    small = wish(1, "image-update", changes=[Change("image", "a", "b")], impact="none", significant=False)
    large = wish(2, "image-update", changes=[Change("kernel", "b", "c")], estimate_seconds=1800)
    for asked in ((small, large), (large, small)):
        (step,) = combine(asked).steps
        assert (step.impact, step.significant, step.estimate_seconds) == ("reboot", True, 1800)


def test_taking_one_of_two_changes_back_leaves_the_other() -> None:
    both = resize(1, before=2, after=4), resize(2, "memory-mib", 4096, 8192), resize(3, before=4, after=2)
    (step,) = combine(both).steps
    assert step.changes == (Change("memory-mib", "4096", "8192"),)


def test_a_request_that_is_told_twice_counts_once() -> None:
    assert combine([wish(1, "other"), wish(1, "other")]).seconds == 600


def test_time_is_set_aside_for_preparation_and_never_less_than_the_least() -> None:
    assert needed_seconds(combine([wish(1, "reboot")]), POLICY) == 900 + 300
    assert needed_seconds(combine([wish(1, "other", estimate_seconds=3600)]), POLICY) == 3600 + 300


@pytest.mark.parametrize(
    ("announced", "more", "anew"),
    [
        ((wish(1, "reboot"),), wish(2, "cold-reboot"), True),
        ((wish(1, "cold-reboot"),), wish(2, "reboot"), False),
        ((wish(1, "other"),), wish(2, "reboot"), True),
        ((wish(1, "reboot"),), wish(2, "other"), False),
        ((wish(1, "reboot"),), wish(2, "other", significant=True), True),
        ((wish(1, "reboot"),), wish(2, "other", estimate_seconds=2 * 3600), True),
        ((wish(1, "cold-reboot"),), resize(2), True),
        ((resize(1),), resize(2, before=4, after=8), False),
        ((resize(1),), resize(2, "memory-mib", 4096, 8192), True),
        ((resize(1), wish(3, "reboot")), resize(2, before=4, after=2), False),
    ],
)
def test_the_notice_is_restored_by_what_the_guest_feels_more_by_news_and_by_length(
    announced: tuple[Activity, ...], more: Activity, *, anew: bool
) -> None:
    assert restores_notice(combine(announced), combine((*announced, more)), POLICY) is anew
