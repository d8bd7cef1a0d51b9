"""The rules of the notifier: which answers are told to whom, in which words, and how long it keeps trying."""

import datetime as dt
from typing import Final

from events.gate import Answer, ContractRef
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.sentences import binding, sentence, unit
from events.stock import StockRequested
from services.notifier.port import Mail

Wish = ScaleRequested | QuiesceRequested | StockRequested
"""The requests that the gate may refuse."""

TOLD: Final = frozenset({"CapExceeded", "ContractExpired"})
"""Refusals that the contract is the reason for: only its owner can do something about them."""

ATTEMPT_SECONDS: Final = 5.0
"""One attempt may take so long; a relay that needs longer is asked again."""

PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)
"""Between the first attempts; the last one repeats. Greylisted twice is then accepted after 1.5 s."""

PROMISE_SECONDS: Final = 30.0
"""A refusal is with the relay within this time, if the relay takes mail at all."""

SLOW_PAUSE_SECONDS: Final = 60.0
GIVE_UP_SECONDS: Final = 3600.0


def is_refusal(answer: Answer) -> bool:
    """Whether the org's owner is told of this answer."""
    return answer.outcome in {"refused", "partial"} and answer.code in TOLD


def pause_seconds(attempts: int, elapsed_seconds: float) -> float | None:
    """How long to wait after so many failed attempts; None when it is time to give up."""
    if elapsed_seconds >= GIVE_UP_SECONDS:
        return None
    quick = PAUSES_SECONDS[min(attempts, len(PAUSES_SECONDS)) - 1]
    return quick if elapsed_seconds + quick < PROMISE_SECONDS else SLOW_PAUSE_SECONDS


def message_id(org: str, request: str) -> str:
    """The same for every attempt: a relay that took the mail without saying so gets it under the same name."""
    return f"<{request}@virtscale.{org}>"


def letter(
    org: str,
    answer: Answer,
    contract: ContractRef | None,
    wish: Wish | None,
    *,
    seq: int,
    refused_at: dt.datetime,
    to: str,
) -> Mail:
    """The mail about one refusal: what was refused, the numbers, who asked, when, and what to do."""
    granted = (
        f"granted {answer.granted} of {answer.asked} VMs" if answer.granted else f"refused {answer.asked} VMs"
    )
    where = org if answer.pool is None else f"{org}/{answer.pool}"
    lines = [
        sentence(org, answer, contract),
        "",
        *_numbers(answer),
        f"Asked by:  {_asker(wish)}",
        *([f"Asked at:  {_moment(wish.received_at)}"] if wish is not None else []),
        f"Refused:   {_moment(refused_at)}",
        f"Request:   {answer.request} (ledger sequence {answer.request_seq}, decided in {seq})",
        "",
        f"What you can do: {_advice(org, answer, contract)}",
        "",
        "Virtscale wrote this because you own the contract. The ledger holds the same numbers.",
        "",
    ]
    return Mail(
        message_id=message_id(org, answer.request),
        to=to,
        subject=f"Virtscale {granted} for {where}: {answer.code}",
        text="\n".join(lines),
    )


def _numbers(answer: Answer) -> list[str]:
    if not answer.evidence:
        return []
    lines = [
        f"  {unit(line)}: {line.used} in use + {line.reserved} reserved + {line.requested} requested = "
        f"{line.projected}; limit {line.limit}" + ("" if line.quota is None else f", quota {line.quota}")
        for line in answer.evidence
    ]
    return [*lines, ""]


def _asker(wish: Wish | None) -> str:
    if wish is None:
        return "unknown"
    sample = None if isinstance(wish, StockRequested) else wish.sample
    if sample is None:
        return wish.publisher
    return (
        f"{wish.publisher}, for pool {wish.pool}: {sample.value:g} is above {sample.above:g} at "
        f"{_moment(sample.observed_at)} for {sample.query}"
    )


def _advice(org: str, answer: Answer, contract: ContractRef | None) -> str:
    agreed = "the contract" if contract is None else f"contract {contract.id} version {contract.version}"
    if answer.code == "ContractExpired":
        return f"{agreed} is not valid at this time: have it renewed. Until then nothing of {org} can grow."
    line = binding(answer)
    over = f" by at least {line.projected - line.limit} {unit(line)}" if line is not None else ""
    return (
        f"ask for less, let pools sleep that are not needed (`virtscale quiesce {org}/POOL N`), or have the quota of "
        f"{agreed} raised{over} in an addendum."
    )


def _moment(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"
