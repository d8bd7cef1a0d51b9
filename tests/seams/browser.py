"""A real Chromium without a window: what a page measures there, and what it looks like."""

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lab.part import find_program
from lab.ports import LOOPBACK

NAMES: Final = ("chromium-headless-shell", "chromium", "google-chrome")
DEADLINE_SECONDS: Final = 60.0

_MEASURE: Final = """\
<!doctype html><title>measure</title>%s<pre id="out"></pre><script>
onload = () => {
  const found = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const all = [...page.body.querySelectorAll('*')];
    const texts = all.filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    const size = one => parseFloat(frame.contentWindow.getComputedStyle(one).fontSize)
      * (one.ownerSVGElement ? one.getScreenCTM().a : 1);
    const range = page.createRange();
    const right = one => { range.selectNodeContents(one); return range.getBoundingClientRect().right; };
    return {
      width: root.clientWidth,
      scrolls: root.scrollWidth,
      widest: Math.max(...all.map(one => one.getBoundingClientRect().right)),
      text_right: Math.max(...texts.filter(one => one.tagName !== 'STYLE').map(right)),
      smallest: Math.min(...texts.filter(one => !['TITLE', 'title', 'desc', 'STYLE'].includes(one.tagName)).map(size)),
      texts: texts.length,
    };
  });
  document.getElementById('out').textContent = JSON.stringify(found);
};
</script>
"""


def browser() -> str | None:
    """The program, where there is one."""
    return next((path for name in NAMES if (path := find_program(name)) is not None), None)


@dataclass
class Site:
    """Pages on loopback, and what was asked for."""

    pages: Mapping[str, bytes]
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        self.asked.append(path)
        body = self.pages.get(path)
        status = "200 OK" if body is not None else "404 Not Found"
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b""))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def site(pages: Mapping[str, bytes], widths: Mapping[int, int]) -> AsyncGenerator[Site]:
    """The pages are served; `/measure` shows `/page` in a frame of each width and height and says what it measured."""
    frames = "".join(
        f'<iframe src="/page" width="{width}" height="{height}" style="border:0"></iframe>'
        for width, height in widths.items()
    )
    served = Site({**pages, "/measure": (_MEASURE % frames).encode()})
    server = await asyncio.start_server(served.answer, LOOPBACK, 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


class Chromium:
    """The browser, with a profile of its own in a directory of the test."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory

    async def measured(self, url: str) -> list[dict[str, Any]]:
        """What `/measure` says."""
        dom = await self._run("--dump-dom", "--virtual-time-budget=10000", url)
        text = dom.split('<pre id="out">', 1)[1].split("</pre>", 1)[0]
        return json.loads(text)

    async def picture(self, url: str, width: int, height: int, *, dark: bool = False) -> "Picture":
        """The page as it is seen in a window of this size."""
        path = self._directory / f"{width}{'-dark' if dark else ''}.png"
        await self._run(
            *(f"--window-size={width},{height}", f"--screenshot={path}"),
            *(("--blink-settings=preferredColorScheme=0",) if dark else ()),
            url,
        )
        return read_picture(path.read_bytes())

    async def _run(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            self._program,
            # As root there is no sandbox, and a container's /dev/shm is small. Nothing is asked of anybody else.
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
            f"--user-data-dir={self._directory / 'profile'}",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{self._program} {words} did not end") from None
        assert process.returncode == 0, err.decode()
        return out.decode()


@dataclass(frozen=True)
class Picture:
    """Pixels of the upper part of a PNG, three numbers each, row by row."""

    width: int
    height: int
    pixels: tuple[tuple[int, int, int], ...]

    @property
    def ground(self) -> tuple[int, int, int]:
        """The colour of the corner, which is the paper's."""
        return self.pixels[0]

    @property
    def inked(self) -> float:
        """The share of pixels that are far from the ground's colour."""
        far = sum(sum(abs(a - b) for a, b in zip(one, self.ground, strict=True)) > 90 for one in self.pixels)
        return far / len(self.pixels)


def read_picture(data: bytes, most_pixels: int = 200_000) -> Picture:
    """The picture, or as many whole rows from its top as have so many pixels. Eight bits a channel, not interlaced."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, width, height, each = 8, b"", 0, 0, 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8
            each = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += body
    raw, line = zlib.decompress(packed), width * each
    before = bytearray(line)
    pixels: list[tuple[int, int, int]] = []
    for row in range(min(height, most_pixels // width)):
        start = row * (line + 1)
        before = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + line]), before, each)
        pixels += zip(before[0::each], before[1::each], before[2::each], strict=True)
    return Picture(width, height, tuple(pixels))


def _unfiltered(kind: int, row: bytearray, before: bytearray, each: int) -> bytearray:
    """One row of a PNG as it was before its filter (PNG, 9.2)."""
    for place in range(len(row)):
        left = row[place - each] if place >= each else 0
        up = before[place]
        corner = before[place - each] if place >= each else 0
        row[place] = (row[place] + _guess(kind, left, up, corner)) & 255
    return row


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 4:
        to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
        if to_left <= to_up and to_left <= to_corner:
            return left
        return up if to_up <= to_corner else corner
    return (0, left, up, (left + up) // 2)[kind]
