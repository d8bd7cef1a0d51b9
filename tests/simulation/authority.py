"""The operators who rule: over freezes, documents and keys of an org, and over the platform's hosts and keys.

Whoever declares a host dead cuts its power first and gives it back only when the fence is decided. Where the plan knows
lies, somebody now and then declares a host dead that lives.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from nacl.signing import SigningKey

from schemas.capacity import Capacity
from schemas.contract.document import Signed
from schemas.contract.signing import sign, succession
from schemas.contract.terms import NOTICE, Amends, Contract, canonical, fingerprint
from schemas.intake import Receipt
from schemas.names import PLATFORM
from tests import papers
from tests.simulation.chance import LIE
from tests.simulation.clock import pause
from tests.simulation.hypervisor import Host
from tests.simulation.load import Client
from tests.simulation.truth import Truth

_MINUTES = dt.timedelta(minutes=10)
"""More than notice needs, since clocks differ and messages take their time."""
_SOON = dt.timedelta(days=29)
_LONG = dt.timedelta(days=60)
_NOBODY = "0" * 64


@dataclass(slots=True)
class Authority:
    """One operator, of one org or of the platform."""

    client: Client
    truth: Truth
    hosts: Sequence[Host]
    orgs: Sequence[Client]
    """Who asks for the orgs, so that a host is called dead in the very moment in which orders are given on it."""
    keys: dict[str, SigningKey]
    """Everybody's signing keys, by their public parts."""
    _number: int = 0

    async def rule(self, until: float, mean_seconds: float) -> None:
        """Rulings by lot are asked for, until the loop's time is `until`."""
        plan, rng = self.client.plan, self.client.chance.rng
        known = {one: ways for one, ways in self._ways().items() if one in plan.rulings}
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as rulings:
            while known and mean_seconds:
                await pause(rng.expovariate(1 / mean_seconds))
                if loop.time() >= until:
                    return
                rulings.create_task(rng.choice(known[rng.choice(list(known))])())

    def _ways(self) -> dict[str, tuple[Callable[[], Coroutine[Any, Any, None]], ...]]:
        keys = (self._register, self._register, self._revoke)
        if self.client.org != PLATFORM:
            return {
                "freeze": (self._freeze, self._freeze, self._thaw),
                "paper": (self._submit,),
                "key": keys,
            }
        return {
            "key": keys,
            "drain": (self._drain,),
            "bury": (self._bury,),
            "remove": (self._remove,),
            LIE: (self._lie,),
        }

    async def _ask(self, verb: str, body: dict[str, Any]) -> Receipt | None:
        """Asked under a key of its own; now and then twice at once."""
        rng = self.client.chance.rng
        self._number += 1
        body |= {"key": f"r{self._number}", "wait": rng.random() < 0.3}
        if rng.random() < 0.1:
            await asyncio.gather(self.client.ask(verb, body), self.client.ask(verb, body))
        answer = await self.client.ask(verb, body)
        return answer if isinstance(answer, Receipt) else None

    def _why(self) -> dict[str, Any]:
        return {"actor": "operator", "reason": "a drill"}

    # ------------------------------------------------------------------------------------------------------ freezes

    async def _freeze(self) -> None:
        rng = self.client.chance.rng
        pool = rng.choice((None, *self.client.pools))
        seconds = rng.choice(self.client.plan.freeze_seconds)
        await self._ask("freeze", self._why() | {"pool": pool, "seconds": seconds})

    async def _thaw(self) -> None:
        await self._ask(
            "thaw", self._why() | {"pool": self.client.chance.rng.choice((None, *self.client.pools))}
        )

    # ---------------------------------------------------------------------------------------------------- documents

    async def _submit(self) -> None:
        """An addendum or a contract: a sound one, or one with something wrong."""
        rng, org = self.client.chance.rng, self.client.org
        newest = self.truth.contracts.standing(org).newest
        if newest is None:
            return
        kind = rng.choice(
            ("sound", "sound", "new", "short", "outdated", "altered", "foreign", "unsigned", "again")
        )
        if kind == "again":
            await self._ask("contract", {"document": newest.signed})
            return
        now = self.truth.now().replace(microsecond=0)
        self._number += 1
        quota = Capacity(vcpu=rng.choice((3, 6, 9)), memory_mib=1 << 16)
        start = max(now + (_SOON if kind == "short" else NOTICE) + _MINUTES, newest.effective_at)
        amends = Amends(
            fingerprint=_NOBODY if kind == "outdated" else newest.fingerprint, effective_from=start
        )
        paper = replace(newest.contract, version=newest.contract.version + 1, quota=quota, amends=amends)
        if kind == "new":
            paper = papers.terms(
                org,
                id=f"{org}-{self._number}",
                quota=quota,
                valid_from=now - _MINUTES,
                valid_until=now + _LONG,
                pools=newest.contract.pools,
            )
        if kind == "short" and paper.amends is not None and paper.amends.effective_from >= now + NOTICE:
            return
        signed = self._signed(paper, kind, now)
        if kind in {"sound", "new"}:
            self.truth.rulings.sound.add(fingerprint(signed.text))
        await self._ask("contract", {"document": signed})

    def _signed(self, paper: Contract, kind: str, now: dt.datetime) -> Signed:
        org = self.client.org
        signed = Signed(canonical(paper), ())
        if kind == "unsigned":
            return sign(signed, "provider", self._key(PLATFORM), now)
        signed = sign(signed, "provider", self._key(PLATFORM), now)
        signed = sign(
            signed, "org", papers.signing_key("nobody") if kind == "foreign" else self._key(org), now
        )
        if kind == "altered":
            signed = Signed(canonical(replace(paper, price_eur_cents_month=1)), signed.signatures)
        return signed

    # --------------------------------------------------------------------------------------------------------- keys

    def _key(self, org: str) -> SigningKey:
        """The current key as far as the ledger is known; of whoever has none, one that nobody knows."""
        return self.keys.get(self.truth.contracts.keys(org).current or "", papers.signing_key("nobody"))

    async def _register(self) -> None:
        """A key takes another's place; or would like to, without the other's word or in nobody's place."""
        rng, org = self.client.chance.rng, self.client.org
        self._number += 1
        current = self.truth.contracts.keys(org).current
        kind = rng.choice(("sound", "sound", "unendorsed", "not-current"))
        new = papers.signing_key(f"{org} {kind} {self._number}")
        public = bytes(new.verify_key).hex()
        body: dict[str, Any] = {"public_key": public}
        if kind == "not-current":
            body |= {"former": _NOBODY, "endorsement": "0" * 128}
        elif current is not None:
            by = self.keys[current] if kind == "sound" else new
            body |= {
                "former": current,
                "endorsement": by.sign(succession(org, current, public)).signature.hex(),
            }
        if kind == "sound" or (kind == "unendorsed" and current is None):
            self.keys[public] = new
            self.truth.rulings.sound.add(public)
        await self._ask("register-key", body)

    async def _revoke(self) -> None:
        rng, keys = self.client.chance.rng, self.truth.contracts.keys(self.client.org)
        known = [one for one in (keys.current, *sorted(keys.replaced)) if one is not None]
        await self._ask("revoke-key", self._why() | {"public_key": rng.choice((*known, _NOBODY))})

    # -------------------------------------------------------------------------------------------------------- hosts

    async def _change(self, host: str, change: str) -> Receipt | None:
        return await self._ask("host", self._why() | {"host": host, "change": change})

    async def _insist(self, host: str, change: str) -> None:
        """The change was decided, or refused: what was not answered is asked again under the same key."""
        self._number += 1
        body = self._why() | {"host": host, "change": change, "key": f"r{self._number}"}
        while (answer := await self.client.ask("host", body)) is None or _is_for_now(answer):
            await pause(1.0)
        if isinstance(answer, Receipt):
            while (PLATFORM, answer.seq) not in self.truth.answered:
                await pause(0.5)

    async def _drain(self) -> None:
        rng = self.client.chance.rng
        host = rng.choice((*(one.name for one in self.hosts), "nosuch"))
        await self._change(host, "drain")
        await pause(self.client.chance.seconds(0.0, 15.0))
        if rng.random() < 0.8:
            await self._change(host, "admit")

    async def _remove(self) -> None:
        """Only a host where nobody is awake is forgotten; it comes back when its waker is started again.

        What was ordered there meanwhile counts until somebody answers for it: that is what the fence is for.
        """
        chance = self.client.chance
        host = chance.rng.choice(self.hosts)
        if host.dead:
            return
        if chance.rng.random() < 0.5:
            await self._change(host.name, "drain")
            await pause(chance.seconds(0.0, 10.0))
        await self._forget(host)

    async def _forget(self, host: Host) -> None:
        await self._insist(host.name, "remove")
        known = self.truth.fleet.hosts.get(host.name)
        if known is not None and known.state == "removed" and self.truth.fleet.awake(host.name):
            await self._kill(host)

    async def _bury(self) -> None:
        """A host is dead, somebody says so, and most of the time it is taken in again when it lives."""
        alive = [host for host in self.hosts if not host.dead]
        if alive:
            await self._kill(self.client.chance.rng.choice(alive))

    async def _kill(self, host: Host) -> None:
        chance = self.client.chance
        if host.dead:
            return
        host.dead = True
        self.truth.note(f"host {host.name} is dead")
        host.lose_power()
        await pause(chance.seconds(0.0, 5.0))
        await asyncio.gather(self._insist(host.name, "fence"), *self._rush())
        await pause(chance.seconds(0.0, 20.0))
        host.dead = False
        host.start_libvirtd()
        self.truth.note(f"host {host.name} lives again")
        await self._take_in(host)

    async def _lie(self) -> None:
        """A host that lives is declared dead."""
        host = self.client.chance.rng.choice(self.hosts)
        self.truth.rulings.lies.add(host.name)
        await asyncio.gather(self._change(host.name, "fence"), *self._rush())
        await pause(self.client.chance.seconds(0.0, 20.0))
        await self._take_in(host)

    def _rush(self) -> list[Coroutine[Any, Any, object]]:
        """Everybody wants VMs just now."""
        rng = self.client.chance.rng
        self._number += 1
        return [
            one.ask(
                "scale",
                {
                    "pool": rng.choice(one.pools),
                    "key": f"r{self._number}",
                    "add": 1 + rng.randrange(3),
                    "up_to": True,
                },
            )
            for one in self.orgs
            if one.pools
        ]

    async def _take_in(self, host: Host) -> None:
        change = self.client.chance.rng.choice(("admit", "admit", "admit", "remove", None))
        if change == "admit":
            await self._change(host.name, change)
        elif change == "remove":
            await self._forget(host)


def _is_for_now(answer: object) -> bool:
    """Whether the door had no time: ask again."""
    return getattr(answer, "code", None) in {"Overloaded", "BusUnanswered"}
