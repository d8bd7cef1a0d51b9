"""One GET on loopback, by the standard library alone: what a part's probe needs."""

from __future__ import annotations

import asyncio

from lab.ports import LOOPBACK

REQUEST_SECONDS = 2.0


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of one GET; HTTP/1.0, so that the body ends with the connection. Status 0 where nothing came."""
    async with asyncio.timeout(REQUEST_SECONDS):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            await writer.drain()
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
    return int(head.split(maxsplit=2)[1]) if head else 0, body
