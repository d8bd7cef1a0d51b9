"""The notifier at work: each refusal becomes a mail that a relay answers for, or an alarm that says why not."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Final, Literal

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
from services.notifier.decide import ATTEMPT_SECONDS, SLOW_PAUSE_SECONDS, letter, message_id, pause_seconds
from services.notifier.metrics import MAILS, TOOK
from services.notifier.places import Places
from services.notifier.port import Contacts, Mail, Relay, RelayError
from services.notifier.state import Erasure, Post, Refusal

_FIRST_ERASE_PAUSE_SECONDS: Final = 0.5
_LONGEST_ERASE_PAUSE_SECONDS: Final = 60.0

_FailCode = Literal["relay-refused", "relay-unreachable", "person-erased"]

log = logging.getLogger("virtscale.notifier")


class Notifier:
    """One notifier. What it has to do is read off the ledger, so nothing is forgotten when it is killed."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, relay: Relay, contacts: Contacts) -> None:
        self._ledger = ledger
        self._clock = clock
        self._relay = relay
        self._contacts = contacts
        self._pen = Pen(bus, "notifier", clock)
        self._post = ledger.fold(Post)
        self._bell = ledger.bell()
        self._places = Places(self._bell.ring)

    async def work(self) -> None:
        """Owners hear of refusals and people are erased, for ever."""
        await self._ledger.live.wait()
        running: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as jobs:
            while True:
                # An erasure comes first: it is seldom, and a mail that follows it must not be sent.
                for erasure in list(self._post.erasures()):
                    if erasure.request not in running:
                        task = running[erasure.request] = jobs.create_task(self._erase(erasure))
                        task.add_done_callback(lambda _, request=erasure.request: running.pop(request))
                # Whoever has the fewest places comes first: no number of other orgs keeps one waiting for ever.
                for org, refusals in sorted(
                    self._post.by_org(), key=lambda found: self._places.taken(found[0])
                ):
                    for refusal in refusals:
                        if not self._places.free(org):
                            break
                        if refusal.request not in running:
                            self._places.take(org)
                            task = running[refusal.request] = jobs.create_task(self._tell(refusal))
                            task.add_done_callback(lambda _, request=refusal.request: running.pop(request))
                await self._bell.wait()

    async def _tell(self, refusal: Refusal) -> None:
        """The owner was told, or cannot be; the place that was taken for it is free, at the first slow pause."""
        quick = True
        try:
            async for pause in self._attempts(refusal):
                if quick and pause >= SLOW_PAUSE_SECONDS:
                    quick = False
                    self._places.give_back(refusal.org)
                await asyncio.sleep(pause)
        finally:
            if quick:
                self._places.give_back(refusal.org)

    async def _attempts(self, refusal: Refusal) -> AsyncGenerator[float]:
        """The owner's mail was accepted or has failed, and the ledger says so; yields the pauses until then.

        Handing it over again is safe: the Message-ID is the same, and whoever reads sees one mail twice at worst.
        """
        loop = asyncio.get_running_loop()
        started, attempts = loop.time(), 0
        while True:
            attempts += 1
            error = await self._attempt(refusal)
            if error is None:
                await self._accepted(refusal, attempts)
                return
            if isinstance(error, _Erased):
                await self._failed(refusal, attempts - 1, "person-erased", str(error))
                return
            pause = pause_seconds(attempts, loop.time() - started)
            if error.final or pause is None:
                code = "relay-refused" if error.final else "relay-unreachable"
                await self._failed(refusal, attempts, code, str(error))
                return
            log.info("mail %s is tried again in %g s: %s", refusal.request, pause, error)
            yield pause

    async def _attempt(self, refusal: Refusal) -> RelayError | None:
        """One attempt; what went wrong comes back as a sentence without the address."""
        async with self._places.way_out(refusal.org):
            try:
                to = self._contacts.contact(refusal.person)
            except VaultError as error:
                log.error("mail %s has no address: %s", refusal.request, error)  # noqa: TRY400 - one sentence
                return RelayError(str(error), final=False)
            except OSError as error:  # a key that cannot be read: others' mail goes on meanwhile
                text = f"The address of {refusal.person} cannot be read: {error.strerror}."
                log.error("mail %s has no address: %s", refusal.request, text)  # noqa: TRY400 - one sentence
                return RelayError(text, final=False)
            if to is None:
                return _Erased(f"The vault holds no address of {refusal.person}: unknown, or erased.")
            try:
                # Its own limit is the relay's business; this one holds when it forgets.
                async with asyncio.timeout(ATTEMPT_SECONDS * 1.5):
                    await self._relay.send(_letter(refusal, to), ATTEMPT_SECONDS)
            except RelayError as error:
                return RelayError(_without(to, str(error)), final=error.final)
            except TimeoutError:
                return RelayError(f"The relay did not answer within {ATTEMPT_SECONDS:g} s.", final=False)
        return None

    async def _accepted(self, refusal: Refusal, attempts: int) -> None:
        now = self._clock.now()
        MAILS.labels("accepted").inc()
        TOOK.observe(max(0.0, (now - refusal.refused_at).total_seconds()))
        fact = MailAccepted(
            org=refusal.org,
            person=refusal.person,
            message_id=message_id(refusal.org, refusal.request),
            requests=(refusal.request,),
            attempts=attempts,
            refused_at=refusal.refused_at,
            accepted_at=now,
        )
        await self._record(fact, derive("mail.accepted", refusal.request), refusal.request)

    async def _failed(self, refusal: Refusal, attempts: int, code: _FailCode, text: str) -> None:
        MAILS.labels(code).inc()
        log.warning("mail %s to the owner of %s has failed: %s", refusal.request, refusal.org, text)
        fact = MailFailed(
            org=refusal.org,
            person=refusal.person,
            message_id=message_id(refusal.org, refusal.request),
            requests=(refusal.request,),
            attempts=attempts,
            code=code,
            text=shorten(text),
            observed_at=self._clock.now(),
        )
        await self._record(fact, derive("mail.failed", refusal.request), refusal.request)

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


def _letter(refusal: Refusal, to: str) -> Mail:
    return letter(
        refusal.org,
        refusal.answer,
        refusal.contract,
        refusal.wish,
        seq=refusal.seq,
        refused_at=refusal.refused_at,
        to=to,
    )


def _without(address: str, text: str) -> str:
    """A relay likes to repeat the address in its refusal, and this text goes into the ledger for ever."""
    return text.replace(address, "the owner")
