"""What the org's owner reads of a refusal about one VM: which, what was asked for it, by whom, and what makes room."""

from services.notifier.decide import DIGEST_SECONDS
from services.notifier.errand import Errand
from services.notifier.state import Post
from tests.copying import Copying
from tests.keeping import TWO
from tests.rules.windows import Windows

LATE = 10 * DIGEST_SECONDS * 1_000_000_000


def mails(past: Copying | Windows) -> list[Errand]:
    post = Post()
    for line in past.lines:
        post.apply(line)
    return [due.write() for _, dues in post.due(LATE) for due in dues]


def test_a_refused_copy_is_named_with_who_asked_and_the_advice_is_about_bytes() -> None:
    past = Copying()
    past.setting(disk_gib=12)
    past.create()
    past.round()
    past.runs()
    past.copy("before")
    past.round()
    past.create("other")
    past.round()
    first, digest = mails(past)
    assert first.subject == "Virtscale refused the snapshot before of db for acme/apps: CapExceeded"
    assert "Asked for: the snapshot before of db\nAsked by:  operator\n" in first.text
    assert "drop snapshots and backups that are not needed (`virtscale vm copies --org acme`)" in first.text
    assert "virtscale quiesce" not in first.text
    assert "  the new VM other  21474836480 of 14173392076 bytes" in digest.text


def test_an_announced_reboot_that_the_cap_refuses_is_told_as_one() -> None:
    house = Windows().house(vcpu=1)
    house.wants(TWO)
    house.look()
    house.to(house.entry.slot.start).look()
    answer, _ = house.gate()
    assert answer.code == "CapExceeded"
    house.look()
    subjects = [mail.subject.partition(",")[0] for mail in mails(house)]
    assert "Virtscale refused the announced reboot of db for acme/apps: CapExceeded" in subjects
