"""The commands about contracts, keys and freezes, as far as they go without a bus: drafts, signing, verifying, words."""

import datetime as dt
import stat
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.vault import Vault
from schemas.capacity import Capacity
from schemas.contract.document import Signed, read, terms
from schemas.contract.terms import Amends, Contract, Override, Person, canonical
from schemas.house import FILE, VARIABLE, House
from tests import papers
from tests.papers import NOW
from tests.rules.contract_files import ADDENDUM, CONTRACT, toml_of
from virtscale import amounts, cli
from virtscale.contracts.differences import differences
from virtscale.contracts.wording import commented
from virtscale.invocation import UsageError
from virtscale.keys import signers

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`virtscale WORDS` in a house of its own: exit code, standard output, standard error."""
    house = tmp_path / "house"
    house.mkdir()
    paths = ("keys", "signing_keys", "contracts", "pools", "templates", "vault")
    unused = ("bus_url", "balancer_socket", "balancer_config", "balancer_base", "smtp_host", "prometheus_url")
    described = House(
        directory=str(house),
        hosts=(),
        smtp_port=1,
        metrics_port=1,
        audit="",
        audit_key="",
        origin="ledger.test/house",
        marks="",
        **{name: str(house / name) for name in paths},
        **dict.fromkeys(unused, "nats://127.0.0.1:1"),
    )
    (house / FILE).write_bytes(msgspec.json.encode(described))
    monkeypatch.setenv(VARIABLE, str(house))
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["virtscale", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


NEW = ("contract", "new", "acme", "--owner", "acme-owner=owner@acme.example", "--valid-from", "2026-11-01")


def keys_of(run: Run, *orgs: str) -> dict[str, str]:
    """New keys, by org."""
    return {org: msgspec.json.decode(run("key", "new", org, "-o", "json")[1])[0]["public"] for org in orgs}


def test_a_draft_is_signed_by_both_sides_and_verified_without_a_bus(run: Run) -> None:
    public = keys_of(run, "provider", "acme")
    assert run(*NEW, "-o", "acme.toml")[0] == 0
    Path("acme.toml").write_text(Path("acme.toml").read_text() + "# agreed on the phone\n")
    given_keys = ("--provider-key", public["provider"], "--org-key", public["acme"])
    assert run("contract", "verify", "acme.toml", *given_keys)[0] == 1
    assert run("contract", "sign", "acme.toml")[0] == 0
    code, out, err = run("contract", "verify", "acme.toml", *given_keys)
    assert (code, "missing" in out) == (1, True)
    assert run("contract", "cosign", "acme.toml")[0] == 0
    code, out, err = run("contract", "verify", "acme.toml", *given_keys)
    assert (code, out.count("genuine")) == (0, 2)
    assert "limits: 110 vCPU, 528 GiB" in err
    assert "# agreed on the phone" in Path("acme.toml").read_text()
    others = ("--provider-key", public["acme"], "--org-key", public["provider"])
    assert run("contract", "verify", "acme.toml", *others)[0] == 1
    assert run("contract", "verify", "acme.toml")[0] == 1, "keys of nobody are no proof"


def test_who_verifies_needs_nothing_of_ours(run: Run) -> None:
    public = keys_of(run, "provider", "acme")
    run(*NEW, "--technical", "acme-ops=ops@acme.example", "-o", "acme.toml")
    for step in ("sign", "cosign"):
        run("contract", step, "acme.toml")
    checks = [sys.executable, "-I", str(ROOT / "docs/examples/verify_contract.py")]
    keys = [public["provider"], public["acme"]]
    Path("addendum.toml").write_text(toml_of(ADDENDUM, papers.signed(ADDENDUM)))
    test_keys = [papers.public_key("platform"), papers.public_key("acme")]
    for file, sides in (("acme.toml", keys), ("addendum.toml", test_keys)):
        done = subprocess.run(
            [*checks, file, *sides], capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout.count("genuine")) == (0, 2), done.stderr
        raised = Path(file).read_text().replace("vcpu = 100", "vcpu = 101")
        assert raised != Path(file).read_text()
        Path("raised.toml").write_text(raised)
        done = subprocess.run(
            [*checks, "raised.toml", *sides], capture_output=True, text=True, timeout=30, check=False
        )
        assert "BadSignatureError" in done.stderr


def test_the_program_in_the_documents_is_the_one_in_the_examples() -> None:
    page, _, _ = (ROOT / "docs/contracts.md").read_text().partition("```python\n")[2].partition("```\n")
    assert page == (ROOT / "docs/examples/verify_contract.py").read_text()


def test_terms_that_were_changed_under_a_signature_are_not_signed_unless_anew(run: Run) -> None:
    keys_of(run, "provider", "acme")
    run(*NEW, "-o", "acme.toml")
    run("contract", "sign", "acme.toml")
    changed = Path("acme.toml").read_text().replace("vcpu = 100", "vcpu = 900")
    Path("acme.toml").write_text(changed)
    code, _, err = run("contract", "cosign", "acme.toml")
    assert (code, "[SignatureInvalid]" in err, "--anew" in err) == (2, True, True)
    assert Path("acme.toml").read_text() == changed, "nothing was written"
    assert run("contract", "submit", "acme.toml")[0] == 2
    assert run("contract", "cosign", "acme.toml", "--anew")[0] == 0
    assert [one.role for one in read(Path("acme.toml").read_bytes()).signatures] == ["org"]


def test_one_key_does_not_sign_for_both_sides(run: Run) -> None:
    keys_of(run, "acme")
    run(*NEW, "-o", "acme.toml")
    key = ("--key", "house/signing_keys/acme.ed25519")
    assert run("contract", "sign", "acme.toml", *key)[0] == 0
    code, _, err = run("contract", "cosign", "acme.toml", *key)
    assert (code, "[SignatureInvalid]" in err) == (2, True)


def test_a_file_that_states_its_signatures_elsewhere_is_left_as_it_is(run: Run) -> None:
    keys_of(run, "provider", "acme")
    signed = toml_of(CONTRACT, papers.signed(CONTRACT))
    head, _, tail = signed.partition("[[signatures]]")
    block, _, _ = tail.partition("\n\n")
    for words in (
        f"signatures = []\n{toml_of(CONTRACT)}",
        f"[[signatures]]{block}\n{head}",
    ):
        Path("odd.toml").write_text(words)
        code, _, err = run("contract", "cosign", "odd.toml", "--anew")
        assert (code, err.count("\n")) == (2, 1), err
        assert Path("odd.toml").read_text() == words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("contract", "sign", "nothing.toml"), "ContractFileUnusable"),
        (("contract", "verify", "."), "ContractFileUnusable"),
        (("contract", "submit", "nothing.toml"), "ContractFileUnusable"),
        (("contract", "verify", "bad.toml"), "ContractUnreadable"),
        (("contract", "submit", "bad.toml"), "ContractUnreadable"),
        (("contract", "verify", "bad.toml", "--org-key", "zz"), "ContractUnreadable"),
        (("contract", "new", "acme.globex"), "UsageWrong"),
        (("contract", "new", "acme"), "UsageWrong"),
        (("contract", "new", "platform", "--owner", "a=a@b.c"), "UsageWrong"),
        ((*NEW, "--quota", "cpu=4"), "UsageWrong"),
        ((*NEW, "--quota", "memory=480"), "UsageWrong"),
        ((*NEW, "--quota", "memory=1KiB"), "UsageWrong"),
        ((*NEW, "--quota", "vcpu=-4"), "UsageWrong"),
        ((*NEW, "--quota", "block=99999PiB"), "ContractUnreadable"),
        ((*NEW, "--allowance", "12"), "ContractUnreadable"),
        ((*NEW, "--reserve", "50"), "ContractUnreadable"),
        ((*NEW, "--price", "1.234"), "UsageWrong"),
        ((*NEW, "--valid-until", "2026-10-01"), "ContractUnreadable"),
        ((*NEW, "--valid-until", "tomorrow"), "UsageWrong"),
        ((*NEW, "--technical", "acme-ops=nobody"), "UsageWrong"),
        ((*NEW, "--technical", "acme-ops"), "UsageWrong"),
        ((*NEW, "-o", "there.toml"), "ContractFileUnusable"),
        ((*NEW, "--addendum"), "HouseUnreadable"),
        ((*NEW, "--amends", "bad.toml"), "ContractUnreadable"),
        (("freeze", "acme/web", "--for", "31d", "--reason", "x"), "UsageWrong"),
        (("freeze", "acme/web", "--for", "0s", "--reason", "x"), "UsageWrong"),
        (("freeze", "acme/web", "--for", "2 weeks", "--reason", "x"), "UsageWrong"),
        (("freeze", "acme/web/x", "--for", "2h", "--reason", "x"), "UsageWrong"),
        (("freeze", "acme/web", "--for", "2h", "--reason", ""), "UsageWrong"),
        (("freeze", "acme/web", "--for", "2h", "--reason", "x" * 201), "UsageWrong"),
        (("freeze", "acme/web", "--for", "2h", "--reason", "two\nlines"), "UsageWrong"),
        (("freeze", "acme/web", "--for", "2h", "--reason", "x", "--as", "Root User"), "UsageWrong"),
        (("thaw", "*", "--reason", "x"), "UsageWrong"),
        (("key", "new", "a.b"), "UsageWrong"),
        (("key", "register", "acme", "--public", "zz"), "UsageWrong"),
        (("key", "register", "acme"), "SigningKeyUnusable"),
        (("key", "revoke", "acme", "00", "--reason", "x"), "UsageWrong"),
    ],
    ids=" ".join,
)
def test_what_was_asked_wrongly_is_one_sentence_with_a_code_and_leaves_nothing_behind(
    run: Run, words: tuple[str, ...], code: str
) -> None:
    Path("bad.toml").write_text("org = 'acme'\n")
    Path("there.toml").write_text("mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    exit_code, out, err = run(*words)
    assert exit_code in {1, 2}
    assert out == ""
    assert err.startswith("virtscale: ")
    assert err.endswith(f" [{code}]\n")
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_people_are_in_the_vault_and_not_in_the_file(run: Run) -> None:
    _, text, _ = run(*NEW, "--technical", "acme-ops=ops@acme.example")
    assert "@" not in text
    contract = terms(read(text.encode()))
    vault = Vault(Path("house/vault"))
    assert vault.contact("acme-owner") == "owner@acme.example"
    assert vault.check("acme-owner", contract.owner.commitment)
    assert vault.check("acme-ops", contract.technical[0].commitment)
    _, again, _ = run("contract", "new", "acme", "--owner", "acme-owner")
    assert terms(read(again.encode())).owner == contract.owner, "who is in the vault is named by id alone"


def test_an_addendum_starts_from_a_file_and_says_what_it_was(run: Run) -> None:
    Path("acme.toml").write_text(toml_of(CONTRACT, papers.signed(CONTRACT)))
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(days=400)).strftime("%Y-%m-%d")
    code, text, _ = run(
        "contract", "new", "acme", "--amends", "acme.toml", "--quota", "vcpu=50", "--valid-until", until
    )
    assert code == 0
    assert "it was 100 vCPU" in text
    addendum = terms(read(text.encode()))
    assert addendum.version == 2
    assert isinstance(addendum.amends, Amends)
    assert addendum.amends.fingerprint == papers.addendum(CONTRACT, NOW).amends.fingerprint  # pyright: ignore[reportOptionalMemberAccess]
    assert addendum.amends.effective_from - dt.datetime.now(dt.UTC) > dt.timedelta(days=30, hours=23)
    assert (addendum.amends.effective_from.minute, addendum.amends.effective_from.second) == (0, 0)
    assert (addendum.pools, addendum.owner) == (CONTRACT.pools, CONTRACT.owner)


names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
people = st.builds(Person, person=names, commitment=st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
amount = st.integers(0, 2**52)
moments = st.integers(0, 10**9).map(lambda seconds: NOW + dt.timedelta(seconds=seconds))
overrides = st.builds(Override, *[st.none() | st.integers(1, 86_400)] * 4)


@given(
    st.builds(
        Contract,
        format=st.just(2),
        id=names,
        version=st.just(1),
        org=names,
        quota=st.builds(Capacity, amount, amount, amount, amount),
        allowance_bp=st.sampled_from([500, 1000, 2000]),
        warm_reserve_bp=st.integers(500, 2000),
        price_eur_cents_month=st.integers(0, 2**53),
        owner=people,
        technical=st.lists(people, max_size=4).map(tuple),
        valid_from=moments,
        valid_until=moments.map(lambda at: at + dt.timedelta(days=20_000)),
        pools=st.dictionaries(names, overrides, max_size=4),
        amends=st.none(),
    )
)
def test_what_is_drafted_says_these_very_terms(contract: Contract) -> None:
    assert read(commented(contract).encode()) == Signed(canonical(contract), ())
    again = papers.addendum(contract, contract.valid_from + dt.timedelta(days=31), quota=Capacity(vcpu=1))
    assert read(commented(again, contract).encode()) == Signed(canonical(again), ())


def test_a_secret_key_is_in_its_file_alone_and_its_owner_alone_reads_it(run: Run, tmp_path: Path) -> None:
    said = ""
    for words in (
        ("key", "new", "acme"),
        ("key", "new", "provider"),
        ("key", "new", "acme"),
        ("key", "new", "other", "--path", str(tmp_path / "elsewhere")),
        ("key", "list"),
        (*NEW, "-o", "acme.toml"),
        ("contract", "sign", "acme.toml"),
        ("contract", "cosign", "acme.toml"),
        ("contract", "verify", "acme.toml"),
        ("key", "register", "acme"),
        ("key", "rotate", "acme"),
    ):
        _, out, err = run(*words)
        said += out + err
    files = [*Path("house/signing_keys").glob("*.ed25519"), tmp_path / "elsewhere"]
    assert len(files) >= 3
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        secret = file.read_text().strip()
        assert secret not in said
        assert secret not in Path("acme.toml").read_text()
    assert signers.read(files[0])
    files[0].chmod(0o640)
    code, _, err = run("contract", "sign", "acme.toml", "--key", str(files[0]))
    assert (code, "can be read by others" in err) == (1, True)


def test_differences_are_told_with_units_and_percent() -> None:
    after = papers.addendum(
        CONTRACT,
        NOW,
        quota=Capacity(vcpu=150, memory_mib=1 << 20),
        allowance_bp=2000,
        pools={"web": Override(cooldown_seconds=60)},
    )
    lines = {str(line["field"]): line for line in differences(CONTRACT, after)}
    assert lines["quota vcpu"] == {
        "field": "quota vcpu",
        "before": "100 vCPU",
        "after": "150 vCPU",
        "change": "+50.0 %",
    }
    assert (lines["limit vcpu"]["before"], lines["limit vcpu"]["after"]) == ("110 vCPU", "180 vCPU")
    assert "quota memory_mib" not in lines
    assert (lines["allowance"]["before"], lines["allowance"]["after"]) == ("10 %", "20 %")
    assert lines["pool web cooldown_seconds"]["after"] == "60 s"
    assert lines["pool batch drain_seconds"]["after"] is None
    assert differences(CONTRACT, CONTRACT) == []


@pytest.mark.parametrize(
    ("word", "total"), [("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200), ("30d", 2_592_000)]
)
def test_durations_are_read_as_people_write_them(word: str, total: int) -> None:
    assert amounts.seconds(word) == total


@pytest.mark.parametrize(
    "word", ["", "2", "h", "-1h", "1.5h", "0s", "2H", "2h30m", "31d", "2592001s", "٣h", "9" * 30 + "s"]
)
def test_a_duration_that_is_none_or_too_long_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        amounts.seconds(word)


@pytest.mark.parametrize(
    ("dimension", "number", "words"),
    [
        ("vcpu", 110, "110 vCPU"),
        ("memory_mib", 491_520, "480 GiB"),
        ("memory_mib", 1, "1 MiB"),
        ("block_bytes", 10 << 40, "10 TiB"),
        ("block_bytes", 1023, "1023 B"),
        ("object_bytes", 0, "0 B"),
    ],
)
def test_amounts_are_shown_exactly(dimension: Any, number: int, words: str) -> None:
    assert amounts.shown(dimension, number) == words


def test_percentages_and_prices_are_exact() -> None:
    assert amounts.basis_points(Decimal("7.5"), "reserve") == 750
    assert amounts.cents(Decimal("2500.50")) == 250_050
    for wrong in ("NaN", "Infinity", "-1", "0.001", "1e400"):
        with pytest.raises(UsageError):
            amounts.cents(Decimal(wrong))
        with pytest.raises(UsageError):
            amounts.basis_points(Decimal(wrong), "reserve")
