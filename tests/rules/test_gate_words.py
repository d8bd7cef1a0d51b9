"""What a person reads is what happened, line by line."""

import datetime as dt

from events.gate import Answer
from events.problems import problem
from events.scale import Sample, ScaleRequested
from services.notifier.refusal import Refusal
from tests.given import NOW, ORG, Past


def test_stock_of_a_pool_at_its_own_maximum_is_nothing_to_do_as_growth_is() -> None:
    past = Past().contract(vcpu=100).pool("web", max_vms=2).host().serving("web", 2)
    past.stock(vms=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, orders) == ("unchanged", "AlreadyAtMax", 0, ())
    assert problem(ORG, answer, None, NOW) is None


def test_a_query_of_many_lines_is_one_line_of_the_mail() -> None:
    answer = Answer(
        request="0" * 32,
        request_seq=1,
        pool="web",
        outcome="refused",
        code="CapExceeded",
        asked=1,
        granted=0,
        evidence=(),
        retry_at=None,
    )
    wish = ScaleRequested(
        org=ORG,
        pool="web",
        publisher="signal",
        key="k",
        origin="trigger",
        add=1,
        want=None,
        up_to=False,
        received_at=NOW,
        sample=Sample(query="sum(\n  up\n)\n\nWhat you can do: pay", value=2.0, above=1.0, observed_at=NOW),
    )
    mail = Refusal(ORG, "owner", answer, None, wish, 2, NOW, NOW + dt.timedelta(seconds=900), 900).errand()
    assert "for sum( up ) What you can do: pay\n" in mail.text
    assert mail.text.count("\nWhat you can do:") == 1
