"""The intake on a bus in memory, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.bus.faults import Delivery, Passage
from events.bus.ledger import Ledger
from events.bus.port import Ack, BusError, Outgoing, Stored
from events.fact import Fact
from events.person import PersonEraseRequested
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from schemas.intake import DeadLetter, Receipt, Rejection
from services.signal.metrics import REJECTED
from services.signal.port import Measurement
from services.signal.worker import Signal
from tests.rules.desk import SHOP, Desk, answer, play
from tests.simulation.clock import pause


class Silence:
    """A metrics store that never answers."""

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        del expression, timeout_seconds
        return None


@dataclass
class Misfortune:
    """The first appends of `signal` meet these fates, in order; then all goes well."""

    passages: list[Passage] = field(default_factory=list)

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        del messages
        return self.passages.pop(0) if name == "signal" and self.passages else Passage()

    def after(self, name: str, messages: Sequence[Outgoing], answer: Ack | BusError) -> None:
        del name, messages, answer

    def deliver(self, name: str, group: tuple[Stored, ...]) -> Sequence[Delivery]:
        del name
        return (Delivery(group),)


@asynccontextmanager
async def intake(desk: Desk) -> AsyncGenerator[Signal]:
    bus = desk.worker_bus("signal")
    ledger = Ledger(bus)
    signal = Signal(ledger, bus, desk.clock, Silence())
    tasks = [asyncio.create_task(signal.work()), asyncio.create_task(ledger.follow())]
    await ledger.live.wait()
    await asyncio.wait(tasks, timeout=0.001)
    try:
        yield signal
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.close()


async def ask(desk: Desk, verb: str, body: object, org: str = "acme") -> Receipt | Rejection:
    payload = body if isinstance(body, bytes) else msgspec.json.encode(body)
    bus = desk.connect(SHOP)
    if org != "acme":
        raw = await desk.server.service_for(f"in.{org}.shop.{verb}").handler(f"in.{org}.shop.{verb}", payload)  # pyright: ignore[reportOptionalMemberAccess]
    else:
        raw = await bus.ask(f"in.acme.shop.{verb}", payload, 60.0)
    return decode(raw)


def decode(raw: bytes) -> Receipt | Rejection:
    try:
        return msgspec.json.decode(raw, type=Receipt)
    except msgspec.ValidationError:
        return msgspec.json.decode(raw, type=Rejection)


def letters(desk: Desk) -> list[DeadLetter]:
    return [msgspec.json.decode(one.payload, type=DeadLetter) for one in desk.server.dead.messages]


def test_each_verb_becomes_its_event_and_the_receipt_names_its_place() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk):
            for verb, body, kind in (
                ("scale", {"pool": "web", "key": "k", "add": 2}, ScaleRequested),
                ("quiesce", {"pool": "web", "key": "k", "count": 1}, QuiesceRequested),
                ("stock", {"pool": "web", "key": "k", "vms": 8}, StockRequested),
            ):
                receipt = await ask(desk, verb, body)
                assert isinstance(receipt, Receipt)
                (recorded,) = desk.facts(kind)
                assert (recorded.id, recorded.seq) == (receipt.id, receipt.seq)
                assert recorded.fact.publisher == "shop"  # pyright: ignore[reportAttributeAccessIssue]
                assert not receipt.repeated

    play(scene)


def test_an_operator_may_have_a_person_erased_and_nobody_else_may() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk) as signal:
            refused = await ask(desk, "erase", {"person": "acme-owner", "key": "k"})
            assert isinstance(refused, Rejection)
            assert refused.code == "OperatorOnly"
            taken = decode(
                await signal.answer("in.platform.operator.erase", b'{"person":"acme-owner","key":"k"}')
            )
            assert isinstance(taken, Receipt)
            assert len(desk.facts(PersonEraseRequested)) == 1

    play(scene)


@pytest.mark.parametrize(
    ("org", "verb", "body", "code"),
    [
        ("acme", "scale", {"pool": "web", "key": "k"}, "AddOrWant"),
        ("acme", "scale", {"pool": "web", "key": "k", "add": 1, "want": 2}, "AddOrWant"),
        ("acme", "scale", {"pool": "db", "key": "k", "add": 1}, "PoolUnknown"),
        ("acme", "scale", {"pool": "web", "key": "k", "add": -1}, "RequestUnreadable"),
        ("acme", "scale", {"pool": "web", "key": "k", "add": 1, "force": True}, "RequestUnreadable"),
        ("acme", "scale", {"pool": "web", "key": "", "add": 1}, "RequestUnreadable"),
        ("acme", "scale", b"not json", "RequestUnreadable"),
        ("acme", "scale", b'{"pool":"web","key":"\xff","add":1}', "RequestUnreadable"),
        ("acme", "scale", b'{"pool":"web","key":"\\ud800","add":1}', "RequestUnreadable"),
        ("acme", "scale", b'{"pool":"web\\n","key":"k","add":1}', "RequestUnreadable"),
        ("acme", "scale", b'{"pool":"web","key":"k","add":1e400}', "RequestUnreadable"),
        ("acme", "scale", b"[" * 9_000, "RequestUnreadable"),
        ("acme", "scale", b'{"x":' * 3_000, "RequestUnreadable"),
        ("acme", "scale", b'{"pool":"web","key":"' + b"k" * 17_000, "RequestTooLarge"),
        ("acme", "explode", {}, "VerbUnknown"),
        ("beta", "scale", {"pool": "web", "key": "k", "add": 1}, "OrgUnknown"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason_kept_and_counted(
    org: str, verb: str, body: object, code: str
) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        before = REJECTED.labels(code)._value.get()
        stored = desk.server.ledger.last
        async with intake(desk):
            rejection = await ask(desk, verb, body, org)
            assert isinstance(rejection, Rejection)
            assert rejection.code == code
            assert rejection.text.endswith("Nothing was stored.")
            (letter,) = letters(desk)
            payload = body if isinstance(body, bytes) else msgspec.json.encode(body)
            assert (letter.subject, letter.code) == (f"in.{org}.shop.{verb}", code)
            assert letter.payload == payload[: 16 * 1024]
            assert desk.server.dead.messages[0].subject == f"dead.{org}.shop"
            assert REJECTED.labels(code)._value.get() == before + 1
            assert desk.server.ledger.last == stored
            # and work goes on
            assert isinstance(await ask(desk, "scale", {"pool": "web", "key": "next", "add": 1}), Receipt)

    play(scene)


def test_the_same_key_asks_once_and_a_key_with_another_wish_is_refused() -> None:
    async def scene() -> None:
        desk = Desk(dedup_seconds=0)
        desk.contract()
        async with intake(desk):
            first = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 2})
            again = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 2})
            other = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 3})
            assert isinstance(first, Receipt)
            assert again == msgspec.structs.replace(first, repeated=True)
            assert isinstance(other, Rejection)
            assert other.code == "KeyReused"
            assert len(desk.facts(ScaleRequested)) == 1

    play(scene)


def test_the_same_key_asks_once_across_a_restart_and_side_by_side() -> None:
    async def scene() -> None:
        desk = Desk(dedup_seconds=0)
        desk.contract()
        async with intake(desk):
            first = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 2})
        async with intake(desk), intake(desk):
            body = {"pool": "web", "key": "k", "add": 2}
            fresh = {"pool": "web", "key": "new", "add": 2}
            old = await asyncio.gather(*(ask(desk, "scale", body) for _ in range(4)))
            new = await asyncio.gather(*(ask(desk, "scale", fresh) for _ in range(8)))
        assert isinstance(first, Receipt)
        assert {one.seq for one in old if isinstance(one, Receipt)} == {first.seq}
        assert len({one.seq for one in new if isinstance(one, Receipt)}) == 1
        assert len(desk.facts(ScaleRequested)) == 2

    play(scene)


@pytest.mark.parametrize("requests", [1, 5, 6, 40, 200])
@pytest.mark.parametrize("dedup_seconds", [0, 600])
@pytest.mark.parametrize(
    "passages",
    [
        [Passage("request-lost")],
        [Passage("ack-lost")],
        [Passage("stored-late", late_seconds=7.0)],
        [Passage("stored-late", late_seconds=5.03), Passage("ack-lost"), Passage("request-lost")],
        [Passage("ack-lost", patience_seconds=0.0)] * 3,
    ],
)
def test_every_request_is_stored_exactly_once_whatever_the_bus_loses(
    requests: int, dedup_seconds: int, passages: list[Passage]
) -> None:
    async def scene() -> None:
        desk = Desk(dedup_seconds=dedup_seconds, faults=Misfortune(list(passages)))
        desk.contract()
        async with intake(desk):
            bodies = [{"pool": "web", "key": f"k{number}", "add": 1} for number in range(requests)]
            receipts = await asyncio.gather(*(ask(desk, "scale", body) for body in bodies))
            await pause(30)  # what lands late has landed
        facts = desk.facts(ScaleRequested)
        assert len(facts) == requests
        placed = {recorded.id: recorded.seq for recorded in facts}
        assert {one.id: one.seq for one in receipts if isinstance(one, Receipt)} == placed

    play(scene)


def test_requests_that_come_together_are_stored_in_one_batch_and_in_the_order_they_came() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk):
            keys = [f"k{number}" for number in range(30)]
            await asyncio.gather(*(ask(desk, "scale", {"pool": "web", "key": key, "add": 1}) for key in keys))
        facts = desk.facts(ScaleRequested)
        assert [recorded.fact.key for recorded in facts] == keys  # pyright: ignore[reportAttributeAccessIssue]

    play(scene)


def test_whoever_waits_hears_what_the_gate_decided_in_a_sentence() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk):
            asking = asyncio.create_task(
                ask(desk, "scale", {"pool": "web", "key": "k", "add": 500, "wait": True})
            )
            await asyncio.wait([asking], timeout=1)
            (request,) = desk.facts(ScaleRequested)
            desk.decide(answer(request.id, request.seq))
            receipt = await asking
            assert isinstance(receipt, Receipt)
            assert (receipt.outcome, receipt.code, receipt.granted) == ("refused", "CapExceeded", 0)
            assert receipt.text is not None
            assert "to 596 vCPU" in receipt.text
            assert "the signed cap is 110" in receipt.text
            again = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 500, "wait": True})
            assert again == msgspec.structs.replace(receipt, repeated=True)

    play(scene)


def test_without_a_decision_in_five_seconds_the_receipt_comes_alone() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk):
            started = asyncio.get_running_loop().time()
            receipt = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 1, "wait": True})
            assert isinstance(receipt, Receipt)
            assert receipt.outcome is None
            assert asyncio.get_running_loop().time() - started == pytest.approx(5.0, abs=0.1)

    play(scene)


def test_more_requests_than_may_wait_are_told_so_at_once_and_not_kept() -> None:
    async def scene() -> None:
        faults = Misfortune([Passage("request-lost")] * 3)
        desk = Desk(faults=faults)
        desk.contract()
        async with intake(desk) as signal:
            asking = [
                asyncio.create_task(
                    signal.answer(
                        f"in.acme.shop{number % 4}.scale",
                        msgspec.json.encode({"pool": "web", "key": f"k{number}", "add": 1}),
                    )
                )
                for number in range(1024 + 64 + 20)
            ]
            answers = [decode(raw) for raw in await asyncio.gather(*asking)]
        codes = [one.code for one in answers if isinstance(one, Rejection)]
        assert codes == ["Overloaded"] * len(codes)
        assert len(codes) >= 20
        assert len(desk.facts(ScaleRequested)) == len(asking) - len(codes)
        assert letters(desk) == []

    play(scene)


def test_a_full_ledger_refuses_requests_and_says_so() -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        desk.server.ledger.max_bytes = desk.server.ledger.bytes + 10
        async with intake(desk):
            rejection = await ask(desk, "scale", {"pool": "web", "key": "k", "add": 1})
            assert isinstance(rejection, Rejection)
            assert rejection.code == "LedgerFull"

    play(scene)


tokens = st.one_of(
    st.sampled_from(["acme", "beta", "shop", "signal", "scale", "quiesce", "stock", "erase", "in", ""]),
    st.text(max_size=50),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["web", "k"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
bodies = st.one_of(
    st.binary(max_size=300),
    st.dictionaries(
        st.sampled_from(["pool", "key", "add", "want", "up_to", "wait", "count", "vms", "person", "x"]),
        values,
        max_size=6,
    ).map(msgspec.json.encode),
)


@given(
    messages=st.lists(
        st.tuples(
            st.one_of(
                st.lists(tokens, max_size=6).map(".".join),
                st.sampled_from(["in.acme.shop.scale", "in.acme.operator.erase", "in.acme.shop.stock"]),
            ),
            bodies,
        ),
        max_size=8,
    )
)
def test_whatever_is_published_gets_a_receipt_or_a_rejection_and_the_ledger_stays_readable(
    messages: list[tuple[str, bytes]],
) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract()
        async with intake(desk) as signal:
            for subject, payload in messages:
                decoded = decode(await signal.answer(subject, payload))
                if isinstance(decoded, Rejection):
                    assert payload[: 16 * 1024] in {letter.payload for letter in letters(desk)}
            assert isinstance(await ask(desk, "scale", {"pool": "web", "key": "last one", "add": 1}), Receipt)
        assert desk.facts(Fact)  # every event decodes

    play(scene)
