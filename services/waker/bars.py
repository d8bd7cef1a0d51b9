"""Proof that nothing which was asked of a domain can still land, and how long the hypervisor took to answer."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from services.waker.metrics import EFFECT_SECONDS
from services.waker.port import DomainState, Hypervisor

Answer = TypeVar("Answer")


async def bar(hypervisor: Hypervisor, name: str, seen: DomainState) -> None:
    """All that was asked of the domain before has taken effect, and it does not run after that.

    Safe to repeat. A domain that is off cannot be suspended, so that its bar is a stop, and one that is saved is saved again,
    since a stop would throw its memory away; on one that is missing nothing can land, since nobody starts what he has not
    seen defined. The bars of domains that are off are the weaker ones: libvirt answers "not running" before it takes the
    domain's job lock, so that a start which is late can still land behind it. Such a guest is then found as a stray, and
    counted.
    """
    match seen:
        case "running" | "paused":
            await timed("suspend", hypervisor.suspend(name))
        case "saved":
            await timed("save", hypervisor.save(name))
        case "off":
            await timed("stop", hypervisor.stop(name))
        case "missing":
            pass


async def timed(effect: str, call: Awaitable[Answer]) -> Answer:
    """The answer; how long it took is in the metrics, also where it was an error."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        return await call
    finally:
        EFFECT_SECONDS.labels(effect).observe(loop.time() - began)
