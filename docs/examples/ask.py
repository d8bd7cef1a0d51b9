"""A publisher of its own: asks for one more VM, and prints what the gate decided."""

import asyncio
import json
import sys

import nats


async def main(url: str, seed: str, key: str) -> None:
    """Ask once; the same key asks only once, however often this runs."""
    bus = await nats.connect(url, nkeys_seed=seed, inbox_prefix="_INBOX_acme_shop")
    request = {"pool": "web", "key": key, "add": 1, "wait": True}
    answer = await bus.request("in.acme.shop.scale", json.dumps(request).encode(), timeout=10)
    print(json.loads(answer.data))
    await bus.close()


asyncio.run(main(*sys.argv[1:]))
