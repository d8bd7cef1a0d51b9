"""A contract's life through the command line, on the real bus: from a draft to its end, and a gate that dies meanwhile."""

import asyncio
import datetime as dt
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from events.contract import ContractAccepted, ContractSubmitted, ContractTookEffect
from events.gate import GateDecided
from schemas.contract.document import Signed
from schemas.contract.signing import sign
from schemas.contract.terms import canonical
from schemas.intake import RegisterKey, Scale, Submit
from tests import papers
from tests.seams.client import Client
from tests.seams.crew import ROOT, Crew
from tests.seams.house import Done, a_client, a_world, run
from tests.seams.test_gates import a_roomy_host
from tests.seams.test_readme import masked
from tests.support import eventually
from virtscale.ask import new_key
from virtscale.keys import signers
from virtscale.world import World

ORG = "globex"
SHORT = "initech"
PROGRAM = Path(sys.executable).with_name("virtscale")
POOL = """\
org = "{org}"
name = "api"
template = "tiny"

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96
"""


@dataclass
class Office:
    """A house where contracts are ruled on and no guest runs."""

    world: World
    crew: Crew
    client: Client
    said: str = ""

    async def command(self, *words: str, code: int = 0) -> Done:
        """`virtscale WORDS` ended with this exit code; what it said is kept."""
        done = await run(PROGRAM, *words, house=self.world.directory, deadline_seconds=60.0)
        self.said += done.out + done.err
        assert done.code == code, f"virtscale {' '.join(words)}: {done.code}\n{done.out}{done.err}"
        return done

    def file(self, name: str) -> str:
        return str(self.world.directory / name)

    async def scale(self, org: str, add: int) -> str:
        """The code of the gate's answer to a request for more."""
        receipt = await self.client.ask(
            "scale", Scale(pool="api", key=new_key(), add=add, wait=True), org=org
        )
        assert receipt.code is not None, receipt
        return receipt.code

    async def shown(self, org: str, count: int) -> list[dict[str, Any]]:
        """The org's documents as `contract show` tells them, once there are so many."""
        rows: list[dict[str, Any]] = []

        async def told() -> bool:
            done = await run(PROGRAM, "contract", "show", org, "-o", "json", house=self.world.directory)
            rows[:] = done.rows() if done.code == 0 else []
            return len(rows) == count

        await eventually(told, 20.0, every_seconds=0.1)
        return rows


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world("test"))
        for org in (ORG, SHORT):
            Path(world.house.pools, f"{org}.api.toml").write_text(POOL.format(org=org))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in ("signal", "gate"):
            await crew.start(name)
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(lambda: (ORG, "api") in client.fleet.pools, 20.0, "no gate works")
        await world.enact(client.contracts)
        await a_roomy_host(stack, world)
        await client.until(lambda: bool(client.fleet.hosts), 10.0, "no host")
        yield Office(world, crew, client)


async def signed_draft(office: Office, *words: str) -> str:
    """A draft by the command line, signed by both sides."""
    file = office.file(f"{len(list(office.world.directory.glob('*.toml')))}.toml")
    await office.command("contract", "new", ORG, *words, "-o", file)
    await office.command("contract", "sign", file)
    await office.command("contract", "cosign", file)
    return file


OWNER = ("--owner", "globex-owner=owner@globex.example")


@pytest.mark.timeout(300)
async def test_a_contract_lives_from_its_draft_to_an_addendum_below_use_and_no_secret_is_told(
    office: Office,
) -> None:
    key = (await office.command("key", "new", ORG, "-o", "json")).rows()[0]["public"]
    assert (await office.command("contract", "show", ORG, code=5)).err.endswith("[ContractMissing]\n")
    first = await signed_draft(office, *OWNER, "--quota", "vcpu=40,memory=64GiB", "--allowance", "5")

    unknown = await office.command("contract", "submit", first, code=3)
    assert unknown.err.endswith("[KeyUnknown]\n")
    await office.command("key", "register", ORG)
    await eventually(lambda: office.client.contracts.keys(ORG).current == key)
    verified = await office.command("contract", "verify", first)
    assert verified.out.count("genuine") == 2
    assert "is in force now: at most 42 vCPU" in (await office.command("contract", "submit", first)).err
    assert "nothing has changed" in (await office.command("contract", "submit", first)).err
    [document] = await office.shown(ORG, 1)
    assert (document["state"], document["limit"]["vcpu"]) == ("in-force", 42)
    assert document["enforced_today"] == ["vcpu", "memory_mib"]

    assert await office.scale(ORG, 30) == "Granted"
    assert await office.scale(ORG, 13) == "CapExceeded"

    # Below present use: accepted, with the numbers; too soon: refused.
    lowered = await signed_draft(office, "--addendum", "--quota", "vcpu=20")
    told = await office.command("contract", "submit", lowered)
    assert "It takes effect at" in told.err
    assert "30 vCPU are in use or reserved, above its limit of 21 (quota 20)" in told.err
    assert "Nothing is stopped; growth is refused" in told.err
    assert [row["state"] for row in await office.shown(ORG, 2)] == ["in-force", "to-come"]
    difference = await office.command("contract", "diff", f"{ORG}@1", f"{ORG}@2", "-o", "json")
    assert {
        "field": "quota vcpu",
        "before": "40 vCPU",
        "after": "20 vCPU",
        "change": "-50.0 %",
    } in difference.rows()
    in_20_days = (dt.datetime.now(dt.UTC) + dt.timedelta(days=20)).strftime("%Y-%m-%d")
    hasty = await signed_draft(office, "--addendum", "--effective-from", in_20_days)
    last = office.client.ledger.seq
    assert (await office.command("contract", "submit", hasty, code=3)).err.endswith("[NoticeTooShort]\n")
    assert office.client.history.asked(last) == [], "nothing was stored"

    # A freeze stops growth, and its end lets it go on.
    await office.command("freeze", f"{ORG}/api", "--for", "2h", "--reason", "a load test", "--as", "root")
    assert await office.scale(ORG, 1) == "Frozen"
    [freeze] = (await office.command("freezes", "-o", "json")).rows()
    assert (freeze["org"], freeze["pool"], freeze["actor"], freeze["reason"]) == (
        ORG,
        "api",
        "root",
        "a load test",
    )
    pools = {row["org"]: row for row in (await office.command("pools", "-o", "json")).rows()}
    assert pools[ORG]["frozen_until"] == freeze["until"]
    assert pools["acme"]["frozen_until"] is None
    await office.command("thaw", f"{ORG}/api", "--reason", "it is over")
    assert await office.scale(ORG, 1) == "Granted"

    # A key is replaced, and revoked; what it signed for the future is void, what is in force stays.
    await office.command("key", "rotate", ORG)
    assert (await office.command("contract", "submit", hasty, code=3)).err.endswith("[KeyReplaced]\n")
    await office.command("key", "revoke", ORG, key, "--reason", "the old laptop was lost")
    await office.client.until(
        lambda: not office.client.contracts.to_come(ORG), 20.0, "the addendum is not voided"
    )
    assert [row["state"] for row in await office.shown(ORG, 2)] == ["in-force", "voided"]
    assert await office.scale(ORG, 1) == "Granted"
    listed = {row["key"]: row for row in (await office.command("key", "list", "-o", "json")).rows()}
    assert listed[key]["state"] == "revoked"
    assert listed[key]["secret_in"].endswith(f"{ORG}.replaced-{key[:8]}.ed25519")
    await assert_no_secret_is_told(office)


async def assert_no_secret_is_told(office: Office) -> None:
    """Neither the commands nor the workers nor the ledger have said the secret half of any key."""
    secrets = [path.read_text().strip() for path in Path(office.world.house.signing_keys).glob("*.ed25519")]
    assert len(secrets) >= 4
    ledger = b"".join([one.payload for one in await office.client.bus.read(1, office.client.ledger.seq)])
    logs = b"".join(path.read_bytes() for path in office.world.directory.rglob("*.log"))
    views = (office.world.directory / "views.db").read_bytes()
    for secret in secrets:
        assert len(secret) == 64
        assert secret not in office.said
        for place in (ledger, logs, views):
            assert secret.encode() not in place
            assert bytes.fromhex(secret) not in place


@pytest.mark.timeout(240)
async def test_a_gate_that_is_killed_between_submission_and_decision_loses_nothing(office: Office) -> None:
    await office.command("key", "new", ORG)
    await office.command("key", "register", ORG)
    file = await signed_draft(office, *OWNER)
    office.crew.freeze("gate")
    submitted = asyncio.create_task(office.command("contract", "submit", file))
    history = office.client.history
    await office.client.until(
        lambda: bool([one for one in history.facts(0, ContractSubmitted) if one.org == ORG]),
        30.0,
        "nothing is stored",
    )
    assert office.client.contracts.in_force(ORG) is None
    await office.crew.kill("gate")
    assert "is in force now" in (await submitted).err
    for kind in (ContractAccepted, ContractTookEffect):
        assert len([one for one in history.facts(0, kind) if one.org == ORG]) == 1
    answers = [answer for one in history.facts(0, GateDecided) if one.org == ORG for answer in one.answers]
    assert len(answers) == len({answer.request for answer in answers})


@pytest.mark.timeout(240)
async def test_a_contract_ends_on_its_second_and_growth_with_it_until_a_new_one_is_in_force(
    office: Office,
) -> None:
    signing, now = Path(office.world.house.signing_keys), dt.datetime.now(dt.UTC).replace(microsecond=0)
    mine = signers.create(signers.path_of(signing, SHORT))
    await office.client.ask(
        "register-key", RegisterKey(key="first", public_key=signers.public(mine), wait=True), org=SHORT
    )
    until = now + dt.timedelta(seconds=5)
    contract = papers.terms(SHORT, valid_from=now - dt.timedelta(days=1), valid_until=until)
    document = Signed(canonical(contract), ())
    document = sign(document, "provider", signers.read(signers.path_of(signing, "platform")), now)
    # Asked for by us and not by a command: it is to be in force well before it ends.
    submit = Submit(key="short", document=sign(document, "org", mine, now), wait=True)
    assert (await office.client.ask("contract", submit, org=SHORT)).outcome == "admitted"
    assert await office.scale(SHORT, 1) == "Granted"
    await eventually(lambda: dt.datetime.now(dt.UTC) >= until, 30.0)
    assert await office.scale(SHORT, 1) == "ContractExpired"
    told = await office.command("contract", "show", SHORT)
    assert "expired" in told.out
    assert "nothing grows until a new contract is in force" in told.err

    file = office.file("next.toml")
    await office.command("contract", "new", SHORT, "--owner", "initech-owner=o@initech.example", "-o", file)
    await office.command("contract", "sign", file)
    await office.command("contract", "cosign", file)
    await office.command("contract", "submit", file)
    assert await office.scale(SHORT, 1) == "Granted"
    assert [row["state"] for row in await office.shown(SHORT, 2)] == ["superseded", "in-force"]


@pytest.mark.timeout(300)
async def test_the_life_that_the_documents_show_is_what_the_commands_say(office: Office) -> None:
    page = (ROOT / "docs" / "contracts.md").read_text()
    blocks = re.findall(r"^```\n(\$ virtscale .*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 20
    here = str(office.world.directory)
    for block in blocks:
        command, *lines = block.splitlines()
        words = [
            office.file(word) if word.endswith(".toml") else word
            for word in shlex.split(command.removeprefix("$ virtscale "))
        ]

        async def missing(words: list[str] = words, lines: list[str] = lines) -> list[str]:
            done = await run(PROGRAM, *words, house=office.world.directory, deadline_seconds=60.0)
            text = (
                (done.err + done.out).replace(f"{os.path.relpath(here, ROOT)}/", "").replace(f"{here}/", "")
            )
            said = {plain(line) for line in text.splitlines()}
            return [f"{line} | {text}" for line in lines if plain(line) not in said]

        # A view follows the ledger a moment later, and looking twice changes nothing.
        looks = words[0] == "freezes" or words[1] in {"show", "list", "diff"}
        if looks:
            await eventually(lambda missing=missing: _none(missing()), 20.0, every_seconds=0.1, why=command)
        else:
            assert await missing() == [], command


async def _none(missing: Awaitable[list[str]]) -> bool:
    return await missing == []


def plain(line: str) -> str:
    """The line as the README's test compares it, wherever the house lies."""
    return masked(line.replace(".virtscale/", ""))
