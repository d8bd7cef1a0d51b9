"""Contracts change what the gate may admit."""

from events.fact import Fact, Moment
from schemas.contract import Contract


class ContractTookEffect(Fact, frozen=True):
    """From here on the org's envelope is this contract's; appended together with a decision, under the fence."""

    contract: Contract
    fingerprint: str
    took_effect_at: Moment
