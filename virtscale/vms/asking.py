"""`virtscale vm create`, `start`, `stop`, `reboot`, `resize`, `protect`, `snapshot`, `restore` and so on: asked for, decided, and followed until it is so."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec

from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, ContractRef, GateDecided, GrowOrdered, Order, PlugOrdered, Rise, StopOrdered
from events.ids import derive
from events.sentences import sentence
from events.vault import Vault
from events.vm import (
    VmBooted,
    VmPlugFailed,
    VmPlugged,
    VmReady,
    VmRebootFailed,
    VmResumed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from events.volume import VolumeFailed, VolumeGrowFailed, VolumeGrown
from replay.why.words import happened, ordered
from schemas.codes import MEANING
from schemas.house import House
from schemas.request import SeedRef
from schemas.seed import Seed, check
from schemas.vm_intake import AdoptVm, ChangeVm, CopyVm, CreateVm, DropCopy, ResizeVm, RestoreVm
from virtscale.ask import TurnedAwayError, events_after, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_TIMEOUT
from virtscale.invocation import UsageError
from virtscale.show import Format, say, write_json
from virtscale.vms.ends import FAILURES, ends_copy

_FAILURES: Final = (
    VmWakeFailed | VmRebootFailed | VmUnready | VmPlugFailed | VolumeGrowFailed | VolumeFailed | FAILURES
)

Asked = CreateVm | ChangeVm | ResizeVm | CopyVm | DropCopy | RestoreVm | AdoptVm


class Told(msgspec.Struct, frozen=True):
    """What the gate answered, and how it ended; None where nothing was to be waited for."""

    vm: str
    outcome: str
    code: str
    text: str
    orders: tuple[str, ...]
    ended: str | None
    seconds: float


def ask(house: House, org: str, request: Asked, deadline_seconds: float, form: Format) -> int:
    """What was asked is decided, and done or refused; the exit code. Ctrl-C ends the following and nothing else."""
    try:
        told, code = asyncio.run(_asked(house, org, request, deadline_seconds))
    except KeyboardInterrupt:
        say(
            f"Not followed any further: what was asked of {org}/{request.vm} stands, and `virtscale vm show` says what came of it."
        )
        return EXIT_INTERRUPTED
    except TurnedAwayError:
        _unsay(house, request)
        raise
    if told.outcome == "refused":
        _unsay(house, request)
    if form == "json":
        write_json(told)
    return code


def seeded(  # noqa: PLR0917 - what a VM is told, and who
    house: House, org: str, vm: str, key: str, user_data: Path | None, keys: list[Path]
) -> SeedRef | None:
    """What the VM is told lies in the vault, and this names it; None where there is nothing. Raises `SeedError`, `UsageError`, `VaultError`.

    Each request has a name of its own for it: the VM's name may be that of one which is there, and was told something else.
    """
    if user_data is None and not keys:
        return None
    seed = Seed(
        instance_id=derive("instance", org, vm),
        hostname=vm,
        keys=tuple(_key(file) for file in keys),
        user_data=_content(user_data) if user_data is not None else b"",
    )
    check(seed)
    name = f"seed-{derive('seed', org, vm, key)}"
    commitment = Vault(Path(house.vault)).put_seed(name, msgspec.json.encode(seed).decode())
    return SeedRef(name, commitment)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}. Nothing was asked.") from None


def _key(file: Path) -> str:
    try:
        return _content(file).decode().strip()
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no public key: it holds no text. Nothing was asked.") from None


def _unsay(house: House, request: Asked) -> None:
    """What a VM that is not made was to be told is not kept: nobody else would ever have it removed."""
    if isinstance(request, CreateVm) and request.seed is not None:
        Vault(Path(house.vault)).forget_seed(request.seed.name, request.seed.commitment)


async def _asked(house: House, org: str, request: Asked, deadline_seconds: float) -> tuple[Told, int]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        following = Following(org, _whose(request), receipt.id)
        try:
            async with asyncio.timeout(deadline_seconds), aclosing(events_after(bus, receipt.seq)) as events:
                async for recorded in events:
                    if following.hears(recorded):
                        break
        except TimeoutError:
            following.gives_up(deadline_seconds, receipt.seq)
    return following.told(loop.time() - began), following.code


def _whose(request: Asked) -> str:
    """The VM that becomes otherwise: of a restore into a new VM, that one."""
    into = request.into if isinstance(request, RestoreVm) else None
    return into or request.vm


class Following:
    """One request on its way, from the gate's answer to the last outcome of what was ordered."""

    def __init__(self, org: str, vm: str, request: str) -> None:
        self._org = org
        self._vm = vm
        self._request = request
        self._answer: Answer | None = None
        self._text = ""
        self._orders: dict[str, Order] = {}
        self._said: list[str] = []
        self._ended: str | None = None
        self.code = EXIT_TIMEOUT

    def hears(self, recorded: Recorded) -> bool:
        """Whether all has ended with this event."""
        fact = recorded.fact
        if fact.org != self._org:
            return False
        if isinstance(fact, GateDecided):
            return self._decided(fact)
        if getattr(fact, "vm", None) == self._vm and self._answer is not None:
            return self._outcome(fact)
        return False

    def told(self, seconds: float) -> Told:
        """The whole of it."""
        answer = self._answer
        return Told(
            vm=f"{self._org}/{self._vm}",
            outcome=answer.outcome if answer is not None else "undecided",
            code=answer.code if answer is not None else "Undecided",
            text=self._text,
            orders=tuple(self._said),
            ended=self._ended,
            seconds=round(seconds, 3),
        )

    def gives_up(self, seconds: float, seq: int) -> None:
        """Nobody waits any longer."""
        what = "No gate answered" if self._answer is None else "It has not ended"
        say(f"{what} within {seconds:g} s; the request stands at ledger sequence {seq} and goes on.")

    def _decided(self, decided: GateDecided) -> bool:
        answer = next((one for one in decided.answers if one.request == self._request), None)
        if answer is None:
            return False
        self._answer = answer
        self._text = _words(self._org, self._vm, answer, decided.contract)
        say(self._text)
        for order in decided.orders:
            if order.vm == self._vm:
                self._orders[order.id] = order
                self._said.append(ordered(order))
        self.code = EXIT_REFUSED if answer.outcome == "refused" else EXIT_DONE
        return not self._orders

    def _outcome(self, fact: Fact) -> bool:
        order = next((one for one in self._orders.values() if _ends(one, fact)), None)
        if order is None:
            return False
        del self._orders[order.id]
        self._ended = happened(fact)
        say(f"{self._org}: {self._ended.removesuffix('.')}.")
        if isinstance(fact, _FAILURES):
            self.code = EXIT_FAILED
        return not self._orders


def _ends(order: Order, fact: Fact) -> bool:
    """Whether the order has ended with this."""
    if isinstance(order, Rise):
        if isinstance(fact, VmReady | VmUnready | VmWakeFailed | VmRebootFailed):
            return fact.reservation == order.id
        proven = isinstance(fact, VmBooted | VmResumed) and fact.reservation == order.id
        return proven and order.ready_seconds == 0
    if isinstance(order, StopOrdered):
        return isinstance(fact, VmStopped) and fact.reservation == order.reservation
    if isinstance(order, PlugOrdered):
        return isinstance(fact, VmPlugged | VmPlugFailed) and fact.order == order.id
    if ends_copy(order, fact):
        return True
    return (
        isinstance(order, GrowOrdered)
        and isinstance(fact, VolumeGrown | VolumeGrowFailed)
        and fact.order == order.id
    )


def _words(org: str, vm: str, answer: Answer, contract: ContractRef | None) -> str:
    if answer.code in {"Granted", "Done"}:
        return f"{org}/{vm}: granted."
    if answer.outcome == "admitted" or not answer.evidence:
        return f"{org}/{vm}: {MEANING.get(answer.code, answer.code)}"
    return f"{org}/{vm}: {sentence(org, answer, contract)}"
