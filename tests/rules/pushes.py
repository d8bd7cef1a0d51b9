"""Requests of remote write, made by hand: what a sender says, byte by byte."""

import struct
from collections.abc import Iterable, Mapping

import cramjam

from services.signal.remote_write import STALE

Sample = tuple[int, float | None]
"""Unix milliseconds and a value; None is the mark of a series that has ended."""


def varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def series(name: str, samples: Iterable[Sample], **labels: str) -> bytes:
    pairs = sorted({"__name__": name, **labels}.items())
    said = [part(1, part(1, key.encode()) + part(2, value.encode())) for key, value in pairs]
    for at_ms, value in samples:
        bits = struct.pack("<Q", STALE) if value is None else struct.pack("<d", value)
        said.append(part(2, b"\x09" + bits + b"\x10" + varint(at_ms)))
    return part(1, b"".join(said))


def packed(*parts: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(b"".join(parts)))


def request(body: bytes, *, path: str = "/api/v1/write", more: Mapping[str, str] | None = None) -> bytes:
    headers = {
        "Host": "signal",
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
        "Content-Length": str(len(body)),
        **(more or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
