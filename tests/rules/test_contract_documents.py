"""A contract file has one reading: whatever another reader could take for something else is refused, with a sentence."""

import datetime as dt
import json
from typing import Any

import msgspec
import pytest

from schemas.contract.document import (
    MOST_BYTES,
    MOST_TEXT_BYTES,
    ContractError,
    Signed,
    examine,
    read,
    write,
)
from schemas.contract.terms import Override, canonical
from schemas.intake import Submit
from services.signal.decide import judge
from services.signal.decide import read as read_request
from services.signal.known import Known
from tests import papers
from tests.given import Past
from tests.papers import NOW
from tests.rules.contract_files import (
    CONTRACT,
    FILES,
    assert_rejected,
    assert_whole,
    json_of,
    refusal,
    toml_of,
    with_member,
)

WHOLE = papers.signed(CONTRACT)


def submit(document: Signed, subject: str = "in.acme.operator.contract", now: dt.datetime = NOW) -> Any:
    """What the door says to the document: an event, or a `Rejection`."""
    past = Past().keys()
    payload = msgspec.json.encode(Submit(key="k", document=document))
    asked = read_request(subject, payload)
    if not hasattr(asked, "request"):
        return asked
    return judge(asked, Known(past.usage, past.fleet, past.state.contracts), now)  # pyright: ignore[reportArgumentType]


def test_a_file_says_the_same_in_toml_and_in_json() -> None:
    assert read(toml_of(CONTRACT, WHOLE).encode()) == read(json_of(CONTRACT, WHOLE).encode()) == WHOLE


def test_what_is_right_is_read_and_reads_back_the_same() -> None:
    for raw in FILES:
        assert_whole(read(raw))


def test_a_signed_file_keeps_the_words_that_a_person_wrote() -> None:
    words = toml_of(CONTRACT).replace("[quota]", "# agreed on the phone with Ürsula, see p. 3\n[quota]")
    assert "Ürsula" in write(WHOLE, words)
    assert read(write(WHOLE, write(WHOLE, words)).encode()) == WHOLE


# ---------------------------------------------------------------------------------- each kind of bad document, by name


def test_an_unsigned_document_is_refused() -> None:
    assert assert_rejected(submit(Signed(WHOLE.text, ()))).code == "ContractUnsigned"


def test_an_altered_document_is_refused() -> None:
    altered = Signed(canonical(msgspec.structs.replace(CONTRACT, allowance_bp=2000)), WHOLE.signatures)
    assert assert_rejected(submit(altered)).code == "SignatureInvalid"


def test_a_half_signed_document_is_refused() -> None:
    for one in WHOLE.signatures:
        rejection = assert_rejected(submit(Signed(WHOLE.text, (one,))))
        assert rejection.code == "ContractUnsigned"
        assert ("provider" if one.role == "org" else "org") in rejection.text


def test_an_expired_document_is_refused() -> None:
    assert assert_rejected(submit(WHOLE, now=CONTRACT.valid_until)).code == "ContractExpired"


def test_a_future_document_is_refused() -> None:
    early = CONTRACT.valid_from - dt.timedelta(minutes=1)
    signed_then = papers.signed(CONTRACT, early)
    assert assert_rejected(submit(signed_then, now=early)).code == "ContractNotYetValid"


def test_a_document_signed_with_a_wrong_key_is_refused() -> None:
    for wrong in (papers.signed(CONTRACT, provider="mallory"), papers.signed(CONTRACT, org="mallory")):
        assert assert_rejected(submit(wrong)).code == "KeyUnknown"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.text.replace(",", ", ", 1),
        WHOLE.text + "\n",
        " " + WHOLE.text,
        WHOLE.text.replace('"vcpu":100', '"vcpu":1e2'),
        WHOLE.text.replace('"vcpu":100', '"vcpu":100.0'),
        WHOLE.text.replace('"vcpu":100', '"vcpu":0100'),
        WHOLE.text.replace('"acme"', '"\\u0061cme"'),
        WHOLE.text.replace('"amends":null,', ""),
        WHOLE.text.replace("T21:00:00Z", "T21:00:00+00:00"),
        WHOLE.text.replace("T21:00:00Z", "T21:00:00.000Z"),
        WHOLE.text.replace('"vcpu":100', '"vcpu":100,"vcpu":100'),
        WHOLE.text.replace('"vcpu":100', '"vcpu":1,"vcpu":100'),
        "{" + '"version":1,' + WHOLE.text[1:].replace(',"version":1', ""),
    ],
)
def test_a_document_that_is_not_in_canonical_form_is_refused(text: str) -> None:
    if text == WHOLE.text:
        pytest.fail("nothing was changed")
    with pytest.raises(ContractError) as refused:
        examine(Signed(text, WHOLE.signatures))
    assert refused.value.code in {"ContractNotCanonical", "ContractUnreadable"}
    assert assert_rejected(submit(Signed(text, WHOLE.signatures))).code == refused.value.code


@pytest.mark.parametrize(
    "raw",
    [
        b'org = "acme"\norg = "globex"\n',
        b'org = "acme"\n"org" = "acme"\n',
        b"[quota]\nvcpu = 1\n[quota]\nvcpu = 2\n",
        b"quota.vcpu = 1\nquota.vcpu = 2\n",
        b'{"org": "acme", "org": "globex"}',
        b'{"org": "acme", "quota": {"vcpu": 1, "vcpu": 2}}',
        b'{"org": "acme", "\\u006frg": "globex"}',
    ],
)
def test_a_key_that_stands_twice_is_refused(raw: bytes) -> None:
    assert refusal(raw).code == "ContractUnreadable"


def test_a_document_that_is_too_long_is_refused() -> None:
    good = toml_of(CONTRACT, WHOLE).encode()
    assert read(good + b"#" * (MOST_BYTES - len(good))) == WHOLE
    error = refusal(good + b"#" * (MOST_BYTES + 1 - len(good)))
    assert str(MOST_BYTES + 1) in str(error)
    assert str(MOST_BYTES) in str(error)


def test_terms_that_are_too_long_are_refused_with_their_length() -> None:
    pools = {f"a-pool-with-a-long-name-{number:04}": Override(*[86_400] * 4) for number in range(120)}
    crowded = msgspec.structs.replace(CONTRACT, pools=pools)
    error = refusal(json_of(crowded).encode())
    assert str(MOST_TEXT_BYTES) in str(error)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    good = toml_of(CONTRACT, WHOLE)
    for raw in (
        good.encode("utf-16"),
        good.encode("utf-32"),
        good.encode() + b"# \xff\n",
        good.encode("utf-8-sig"),
        b"# \xc0\xaf\n" + good.encode(),
        b"# \xed\xa0\x80\n" + good.encode(),
        "# Grüße\n".encode("latin-1") + good.encode(),
        b"",
        b"\x00",
        good.encode().replace(b'"acme"', b'"ac\x00me"'),
    ):
        assert refusal(raw).code == "ContractUnreadable"


NUMBERS = (
    "quota.vcpu",
    "quota.memory_mib",
    "quota.block_bytes",
    "quota.object_bytes",
    "allowance_bp",
    "warm_reserve_bp",
    "price_eur_cents_month",
    "version",
    "format",
    "pools.web.cooldown_seconds",
)


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [-1, -(2**63), 2**53 + 1, 2**63, 2**64, 10**400, 0.5, 100.5, 1e300, "100", "1e2", True, [100], {"is": 1}],
    ids=str,
)
def test_numbers_that_are_negative_huge_fractional_or_no_numbers_are_refused(path: str, value: Any) -> None:
    assert refusal(with_member(path, value)).code == "ContractUnreadable"


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize(
    "word", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "0x10", "0o7", "1_000", "+1", "01"]
)
def test_words_that_stand_for_no_number_are_refused(path: str, word: str) -> None:
    raw = with_member(path, 424_242_424)
    assert refusal(raw.replace(b"424242424", word.encode())).code == "ContractUnreadable"


@pytest.mark.parametrize(
    "word", ["nan", "+nan", "inf", "-inf", "1e400", "0.5", "100.0", "-0.0", "-1", "9" * 5000]
)
def test_toml_has_words_for_what_is_no_amount_and_they_are_refused(word: str) -> None:
    raw = toml_of(CONTRACT, WHOLE).replace("vcpu = 100", f"vcpu = {word}")
    assert refusal(raw.encode()).code == "ContractUnreadable"


def test_a_quota_that_other_readers_could_not_count_exactly_is_refused() -> None:
    assert refusal(with_member("quota.block_bytes", 2**52 + 1)).code == "ContractUnreadable"
    read(with_member("quota.block_bytes", 2**52))


INJECTIONS = (
    "acme.globex",
    "acme.*",
    "acme.>",
    ">",
    "*",
    "",
    "acme\n",
    "\nacme",
    "acme\r\nPUB x 1",
    "ac me",
    "acme\x00",
    "Acme",
    "acmé",
    "аcme",  # noqa: RUF001 - a Cyrillic letter
    "ａcme",  # noqa: RUF001 - a full-width one
    "acme\u200b",
    "-acme",
    "acme-",
    "a" * 41,
    "../acme",
    "acme/web",
    "$SYS",
)


@pytest.mark.parametrize("name", INJECTIONS)
@pytest.mark.parametrize("path", ["org", "id", "owner.person"])
def test_a_name_that_could_widen_split_or_end_a_subject_is_refused(path: str, name: str) -> None:
    assert refusal(with_member(path, name)).code == "ContractUnreadable"
    members = json.loads(WHOLE.text)
    *way, last = path.split(".")
    (members[way[0]] if way else members)[last] = name
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert assert_rejected(submit(Signed(text, WHOLE.signatures))).code == "ContractUnreadable"


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_subject_with_such_a_name_is_no_request(name: str) -> None:
    for subject in (f"in.{name}.operator.contract", f"in.acme.{name}.contract"):
        if subject.split(".") != ["in", "acme", "operator", "contract"]:
            assert_rejected(submit(WHOLE, subject=subject))


def test_nobody_but_an_operator_hands_in_a_contract() -> None:
    assert assert_rejected(submit(WHOLE, subject="in.acme.shop.contract")).code == "OperatorOnly"


def test_a_contract_handed_in_for_another_org_is_refused() -> None:
    assert assert_rejected(submit(WHOLE, subject="in.globex.operator.contract")).code == "ContractOfAnother"


@pytest.mark.parametrize(
    "commitment", ["x" * 64, "A" * 64, "owner@acme.example".ljust(64), "0" * 63, "0" * 63 + "\n"]
)
def test_a_commitment_that_could_name_somebody_is_refused(commitment: str) -> None:
    assert refusal(with_member("owner.commitment", commitment)).code == "ContractUnreadable"


@pytest.mark.parametrize(
    "instant",
    [
        "2026-12-01",
        "2026-12-01T00:00:00",
        "2026-12-01T00:00:00+01:00",
        "2026-12-01T00:00:00.5Z",
        "2026-02-30T00:00:00Z",
        0,
    ],
)
def test_an_instant_that_is_not_utc_and_whole_seconds_is_refused(instant: Any) -> None:
    assert refusal(with_member("valid_until", instant)).code in {"ContractUnreadable", "ContractNotCanonical"}


def test_a_contract_ends_after_it_begins_and_an_addendum_lies_between() -> None:
    assert refusal(with_member("valid_until", "2026-11-21T21:00:00Z")).code == "ContractUnreadable"
    amends = {"fingerprint": "0" * 64, "effective_from": "2026-11-22T10:00:00Z"}
    members = json.loads(with_member("amends", amends)) | {"version": 2, "signatures": []}
    read(json.dumps(members).encode())
    for effective_from in ("2026-11-21T20:59:59Z", "2026-11-22T21:00:00Z"):
        members["amends"] = amends | {"effective_from": effective_from}
        assert refusal(json.dumps(members).encode()).code == "ContractUnreadable"


def test_version_one_amends_nothing_and_every_later_one_does() -> None:
    assert refusal(with_member("version", 2)).code == "ContractUnreadable"
    amends = {"fingerprint": "0" * 64, "effective_from": "2026-11-22T10:00:00Z"}
    assert refusal(with_member("amends", amends)).code == "ContractUnreadable"


@pytest.mark.parametrize("change", ["twice", "turned", "strange", "bare"])
def test_each_side_signs_once_and_the_provider_first(change: str) -> None:
    provider, org = json.loads(json_of(CONTRACT, WHOLE))["signatures"]
    signatures = {
        "twice": [provider, provider],
        "turned": [org, provider],
        "strange": [provider | {"role": "auditor"}, org],
        "bare": [{"role": "provider"}],
    }[change]
    refusal(with_member("signatures", signatures))


def test_nesting_that_is_too_deep_is_refused() -> None:
    for raw in (
        b"a = " + b"[" * 30_000,
        b"{" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"a." * 8_000 + b"a = 1",
    ):
        assert refusal(raw).code == "ContractUnreadable"


def test_a_field_that_nobody_defined_is_refused() -> None:
    for path in ("discount", "quota.gpu", "owner.mail", "pools.web.min_vms", "signatures.0.note"):
        assert refusal(with_member(path, 1)).code == "ContractUnreadable"
