"""Asking the gate for a ruling, and waiting for it: the commands about contracts, keys, freezes and permissions."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from events.fact import Fact
from events.gate import Answer, ContractRef, GateDecided
from events.sentences import sentence
from schemas.house import House
from schemas.intake import ChangeHost, Freeze, RegisterKey, RevokeKey, Submit, Thaw
from schemas.vm_intake import Permit
from virtscale.ask import TurnedAwayError, events_after, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_REFUSED, EXIT_TIMEOUT

DEADLINE_SECONDS: Final = 30.0

_AT_THE_DOOR: Final = frozenset(
    {
        "AddendumOutdated",
        "ContractExpired",
        "ContractInForce",
        "ContractMissing",
        "ContractNotYetValid",
        "ContractOfAnother",
        "ContractOutdated",
        "ContractUnsigned",
        "KeyReplaced",
        "KeyRevoked",
        "KeyUnknown",
        "NoticeTooShort",
        "SignatureInvalid",
    }
)
"""Nothing is wrong with how it was asked: the door says at once what the gate would say, by the same rules."""


class UndecidedError(Exception):
    """The request is in the ledger, and no gate has answered it yet."""

    code = "Undecided"
    exit_code = EXIT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the gate answered, and the facts that follow from it."""

    org: str
    seq: int
    answer: Answer
    contract: ContractRef | None
    facts: tuple[Fact, ...]

    @property
    def text(self) -> str:
        """The answer in a sentence."""
        return sentence(self.org, self.answer, self.contract)

    @property
    def exit_code(self) -> int:
        """What a command ends with."""
        return EXIT_REFUSED if self.answer.outcome == "refused" else EXIT_DONE


async def ruled(
    house: House,
    org: str,
    request: Submit | RegisterKey | RevokeKey | Freeze | Thaw | ChangeHost | Permit,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Ruled:
    """The gate's answer as it stands in the ledger, whichever gate gave it and however often it died before.

    Raises:
        TurnedAwayError: the intake refused it; exit code 3 where the rules did, 2 where it was asked wrongly.
        UndecidedError: there was no answer in time; the request stands, and will be answered.
    """
    async with operator(house) as bus:
        try:
            receipt = await publish(bus, org, request)
        except TurnedAwayError as error:
            if error.code in _AT_THE_DOOR:
                error.exit_code = EXIT_REFUSED
            raise
        facts: list[Fact] = []
        try:
            async with asyncio.timeout(deadline_seconds), aclosing(events_after(bus, receipt.seq)) as events:
                async for recorded in events:
                    fact = recorded.fact
                    if fact.org != org:
                        continue
                    if not isinstance(fact, GateDecided):
                        facts.append(fact)
                        continue
                    for answer in fact.answers:
                        if answer.request == receipt.id:
                            return Ruled(org, recorded.seq, answer, fact.contract, tuple(facts))
                    facts.clear()
        except TimeoutError:
            pass
    raise UndecidedError(
        f"No gate answered within {deadline_seconds:g} s; the request stands at ledger sequence {receipt.seq} and will "
        "be answered when one works."
    )
