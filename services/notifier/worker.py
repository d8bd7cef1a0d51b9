"""The notifier at work: refusals and lost signals become mails that a relay answers for, or an alarm that says why not."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine, Hashable, Iterable
from typing import Any, Final, Literal

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.fact import Fact
from events.ids import derive
from events.mail import MailAccepted, MailFailed
from events.person import PersonErased
from events.vault import VaultError
from schemas.names import shorten
from services.notifier.decide import ATTEMPT_SECONDS, DIGEST_SECONDS, SLOW_PAUSE_SECONDS, pause_seconds
from services.notifier.errand import Errand
from services.notifier.metrics import (
    DELETIONS_TOLD,
    DIGEST_TOOK,
    MAILS,
    MAINTENANCE_TOLD,
    SIGNALS_TOLD,
    TOLD,
    TOOK,
    TROUBLES_TOLD,
)
from services.notifier.places import Places
from services.notifier.port import Contacts, Relay, RelayError
from services.notifier.state import Due, Erasure, post_of

_FIRST_ERASE_PAUSE_SECONDS: Final = 0.5
_LONGEST_ERASE_PAUSE_SECONDS: Final = 60.0

_LONGEST_LOOK_SECONDS: Final = 60.0
"""The clock is looked at so often while a digest waits: it may have been set forward meanwhile."""

_NAMED: Final = {
    "refusals": TOLD,
    "signals": SIGNALS_TOLD,
    "maintenance": MAINTENANCE_TOLD,
    "deletions": DELETIONS_TOLD,
    "troubles": TROUBLES_TOLD,
}

_FailCode = Literal["relay-refused", "relay-unreachable", "person-erased"]

log = logging.getLogger("virtscale.notifier")


class Notifier:
    """One notifier. What it has to do is read off the ledger, so nothing is forgotten when it is killed.

    The first refusal of an episode is mailed at once, the others in a digest each `digest_seconds` (ADR 10). Lost signals have
    episodes of their own, for the org's technical contacts, and so has what befalls VMs.
    """

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        clock: Clock,
        relay: Relay,
        contacts: Contacts,
        *,
        digest_seconds: int = DIGEST_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._relay = relay
        self._contacts = contacts
        self._pen = Pen(bus, "notifier", clock)
        self._post = ledger.fold(post_of(digest_seconds))
        self._bell = ledger.bell()
        self._places = Places(self._bell.ring)
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    async def work(self) -> None:
        """People hear of refusals and lost signals, and are erased, for ever."""
        await self._ledger.live.wait()
        async with asyncio.TaskGroup() as jobs:
            while True:
                # An erasure comes first: it is seldom, and a mail that follows it must not be sent.
                for erasure in list(self._post.erasures()):
                    if erasure.request not in self._running:
                        self._begin(jobs, erasure.request, self._erase(erasure))
                now_ns = self._now_ns()
                # Whoever has the fewest places comes first: no number of other orgs keeps one waiting for ever.
                waiting = sorted(self._post.due(now_ns), key=lambda found: self._places.taken(found[0]))
                for org, mails in waiting:
                    self._tell_some(jobs, org, mails)
                await self._bell.wait(self._until_next(now_ns))

    def _tell_some(self, jobs: asyncio.TaskGroup, org: str, mails: Iterable[Due]) -> None:
        """As many of the org's mails are under way as there are places for."""
        for due in mails:
            if not self._places.free(org):
                return
            if due.place not in self._running:
                self._places.take(org)
                self._begin(jobs, due.place, self._tell(due.write()))

    def _begin(self, jobs: asyncio.TaskGroup, place: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """The work is under way; when it ends, whatever is due then at the same place may begin."""

        def ended(_: asyncio.Task[None]) -> None:
            del self._running[place]
            self._bell.ring()

        task = self._running[place] = jobs.create_task(work)
        task.add_done_callback(ended)

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e6) * 1000

    def _until_next(self, now_ns: int) -> float | None:
        """Seconds until the next digest is due, but no more than pass between two looks at the clock."""
        next_ns = self._post.next_ns(now_ns)
        return None if next_ns is None else min((next_ns - now_ns) / 1e9, _LONGEST_LOOK_SECONDS)

    async def _tell(self, errand: Errand) -> None:
        """The owner was told, or cannot be; the place that was taken for it is free, at the first slow pause."""
        quick = True
        try:
            async for pause in self._attempts(errand):
                if quick and pause >= SLOW_PAUSE_SECONDS:
                    quick = False
                    self._places.give_back(errand.org)
                await asyncio.sleep(pause)
        finally:
            if quick:
                self._places.give_back(errand.org)

    async def _attempts(self, errand: Errand) -> AsyncGenerator[float]:
        """The owner's mail was accepted or has failed, and the ledger says so; yields the pauses until then.

        Handing it over again is safe: the Message-ID is the same, and whoever reads sees one mail twice at worst.
        """
        loop = asyncio.get_running_loop()
        started, attempts = loop.time(), 0
        while True:
            attempts += 1
            error = await self._attempt(errand)
            _heed_cancellation()
            if error is None:
                await self._accepted(errand, attempts)
                return
            if isinstance(error, _Erased):
                await self._failed(errand, attempts - 1, "person-erased", str(error))
                return
            pause = pause_seconds(attempts, loop.time() - started)
            if error.final or pause is None:
                code = "relay-refused" if error.final else "relay-unreachable"
                await self._failed(errand, attempts, code, str(error))
                return
            log.info("mail %s is tried again in %g s: %s", errand.message_id, pause, error)
            yield pause

    async def _attempt(self, errand: Errand) -> RelayError | None:
        """One attempt; what went wrong comes back as a sentence without the address."""
        async with self._places.way_out(errand.org):
            try:
                to = self._contacts.contact(errand.person)
            except VaultError as error:
                log.error("mail %s has no address: %s", errand.message_id, error)  # noqa: TRY400 - one sentence
                return RelayError(str(error), final=False)
            except OSError as error:  # a key that cannot be read: others' mail goes on meanwhile
                text = f"The address of {errand.person} cannot be read: {error.strerror}."
                log.error("mail %s has no address: %s", errand.message_id, text)  # noqa: TRY400 - one sentence
                return RelayError(text, final=False)
            if to is None:
                return _Erased(f"The vault holds no address of {errand.person}: unknown, or erased.")
            try:
                # Its own limit is the relay's business; this one holds when it forgets.
                async with asyncio.timeout(ATTEMPT_SECONDS * 1.5):
                    await self._relay.send(errand.to(to), ATTEMPT_SECONDS)
            except RelayError as error:
                return RelayError(_without(to, str(error)), final=error.final)
            except TimeoutError:
                return RelayError(f"The relay did not answer within {ATTEMPT_SECONDS:g} s.", final=False)
        return None

    async def _accepted(self, errand: Errand, attempts: int) -> None:
        now = self._clock.now()
        MAILS.labels("accepted").inc()
        _NAMED[errand.about].labels("accepted").inc(len(errand.requests))
        if errand.about == "refusals":
            took, since = (
                (TOOK, errand.refused_at) if errand.digest_at is None else (DIGEST_TOOK, errand.digest_at)
            )
            took.observe(max(0.0, (now - since).total_seconds()))
        fact = MailAccepted(
            org=errand.org,
            person=errand.person,
            message_id=errand.message_id,
            requests=errand.requests,
            attempts=attempts,
            refused_at=errand.refused_at,
            accepted_at=now,
        )
        await self._record(fact, derive("mail.accepted", errand.name), errand.requests[0])

    async def _failed(self, errand: Errand, attempts: int, code: _FailCode, text: str) -> None:
        MAILS.labels(code).inc()
        _NAMED[errand.about].labels(code).inc(len(errand.requests))
        log.warning("mail %s to somebody of %s has failed: %s", errand.message_id, errand.org, text)
        fact = MailFailed(
            org=errand.org,
            person=errand.person,
            message_id=errand.message_id,
            requests=errand.requests,
            attempts=attempts,
            code=code,
            text=shorten(text),
            observed_at=self._clock.now(),
        )
        await self._record(fact, derive("mail.failed", errand.name), errand.requests[0])

    async def _erase(self, erasure: Erasure) -> None:
        """The person's key is destroyed, and the ledger says so. Safe to repeat: it stays destroyed."""
        pause = _FIRST_ERASE_PAUSE_SECONDS
        while True:
            try:
                existed = self._contacts.erase(erasure.person)
                break
            except (VaultError, OSError) as error:
                log.error("%s is not erased yet: %s", erasure.person, error)  # noqa: TRY400 - one sentence
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_ERASE_PAUSE_SECONDS)
        fact = PersonErased(
            org=erasure.org, person=erasure.person, existed=existed, erased_at=self._clock.now()
        )
        await self._record(fact, derive("person.erased", erasure.request), erasure.request)

    async def _record(self, fact: Fact, id: str, request: str) -> None:
        """The outcome is stored and folded, so that it is not done again."""
        ack = await self._pen.record(fact, id=id, cause=request, correlation=request)
        await self._ledger.reach(ack.seq)


class _Erased(RelayError):
    """There is nobody to write to."""

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


def _heed_cancellation() -> None:
    """Nobody has asked the running task to end.

    Where the answer comes in the same moment, `asyncio.wait_for` gives it and drops the request (CPython 3.11), and so does
    whatever a relay is made with. Whoever waits for this task waits once: it would go on to write to a bus that is going away.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _without(address: str, text: str) -> str:
    """A relay likes to repeat the address in its refusal, and this text goes into the ledger for ever."""
    return text.replace(address, "the owner")
