"""A refusal as HTTP says it, from the gate's own answer: the same numbers as in the mail and in the ledger."""

import datetime as dt

from events.gate import Answer, ContractRef
from events.sentences import sentence
from schemas.codes import meaning
from schemas.names import shorten
from schemas.problem import STATUS, TOO_MANY, TYPE, Line, Problem


def problem(
    org: str, answer: Answer, contract: ContractRef | None, decided_at: dt.datetime
) -> Problem | None:
    """The problem document of a refused or partly granted request; None where nothing was refused."""
    if answer.outcome not in {"refused", "partial"}:
        return None
    return Problem(
        type=TYPE.format(answer.code),
        title=meaning(answer.code),
        status=STATUS.get(answer.code, TOO_MANY),
        detail=shorten(sentence(org, answer, contract)),
        instance=f"urn:virtscale:request:{answer.request}",
        code=answer.code,
        request=answer.request,
        org=org,
        pool=answer.pool,
        asked=answer.asked,
        granted=answer.granted,
        contract=contract.id if contract else None,
        contract_version=contract.version if contract else None,
        allowance_bp=contract.allowance_bp if contract else None,
        lines=tuple(
            Line(
                dimension=line.dimension,
                used=line.used,
                reserved=line.reserved,
                requested=line.requested,
                projected=line.projected,
                quota=line.quota,
                limit=line.limit,
            )
            for line in answer.evidence
        ),
        decided_at=decided_at,
        retry_after_seconds=_wait(answer, decided_at),
    )


def _wait(answer: Answer, decided_at: dt.datetime) -> int | None:
    """Whole seconds, rounded up, until time alone may have changed the answer."""
    if answer.retry_at is None:
        return None
    return max(0, -int((decided_at - answer.retry_at).total_seconds() // 1))
