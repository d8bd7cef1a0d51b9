"""Asking a witness to sign a checkpoint too: C2SP tlog-witness over HTTP, the proof from the archive's own tiles."""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from events.tlog import checkpoint, cosign
from events.tlog.note import NoteError, Signature, parse_signatures, split
from events.tlog.reader import Archive
from events.tlog.tiles import TileError
from events.tlog.tree import consistency

TIMEOUT_SECONDS: Final = 5.0
MOST_ANSWER_BYTES: Final = 4096
MOST_COSIGNATURES: Final = 4
"""Of one witness: one is usual, two while it changes its key."""

_OK: Final = 200
_CONFLICT: Final = 409


class WitnessError(Exception):
    """A witness did not sign; the sentence names it and says what it said."""

    code = "WitnessRefused"


class Witness:
    """One witness by the URL of its `add-checkpoint`. What it saw last it says itself, when we are wrong about it."""

    def __init__(self, place: str, client: httpx.AsyncClient) -> None:
        """`place` is the URL, or the witness's public key (`name+hash+key`, C2SP type 0x04), a space, and the URL.

        Without the key its signatures are kept as they come, which whoever reads the checkpoint may have to pay for: one in
        somebody else's name that does not fit makes others refuse the note. Raises `NoteError` for what is no key.
        """
        vkey, _, self.url = place.rpartition(" ")
        self._verifier = cosign.CosignVerifier.parse(vkey) if vkey else None
        self._client = client
        self._seen = 0

    async def add(self, size: int, note: str, archive: Archive) -> Sequence[Signature]:
        """Its signatures under the checkpoint in `note`, of `size` entries; raises `WitnessError`."""
        status, text = await self._post(size, note, archive)
        if status == _CONFLICT:
            self._seen = self._told(text, size)
            status, text = await self._post(size, note, archive)
        if status != _OK:
            raise WitnessError(
                f"The witness {self.url} did not sign the checkpoint of {size} events: {status} {text[:200].strip()!r}."
            )
        try:
            signatures = parse_signatures(text)
        except NoteError as error:
            raise WitnessError(
                f"The witness {self.url} answered with what is no signature: {error}"
            ) from error
        if len(signatures) > MOST_COSIGNATURES:
            raise WitnessError(
                f"The witness {self.url} answered with {len(signatures)} signatures, and one is usual."
            )
        self._seen = size
        for one in signatures:
            if not self._may_be(one, split(note)[0]):
                raise WitnessError(
                    f"The witness {self.url} answered with a signature by {one.name} that is not its own."
                )
        return signatures

    def _may_be(self, one: Signature, text: str) -> bool:
        """Whether the signature is the witness's, as far as its key is known; it is never the log's."""
        known = self._verifier
        if known is None:
            return one.name != checkpoint.parse(text).origin
        return (one.name, one.key_id) == (known.name, known.key_id) and known.verify(text, one)

    async def _post(self, size: int, note: str, archive: Archive) -> tuple[int, str]:
        """Status and text of its answer, in bounded time and of bounded length."""
        seen = min(self._seen, size)
        try:
            path = tuple(consistency(seen, size, archive.hash))
        except TileError as error:
            raise WitnessError(f"The witness {self.url} was not asked: {error}") from error
        body = cosign.encode(cosign.AddCheckpoint(seen, path, note)).encode()
        text = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream("POST", self.url, content=body) as answer,
            ):
                async for part in answer.aiter_bytes():
                    text += part
                    if len(text) > MOST_ANSWER_BYTES:
                        raise WitnessError(
                            f"The witness {self.url} answered with more than {MOST_ANSWER_BYTES} bytes."
                        )
                return answer.status_code, text.decode(errors="replace")
        except TimeoutError as error:
            raise WitnessError(
                f"The witness {self.url} did not answer within {TIMEOUT_SECONDS:g} s."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WitnessError(
                f"The witness {self.url} did not answer: {str(error) or type(error).__name__}."
            ) from error

    def _told(self, text: str, size: int) -> int:
        """The size that the witness says it has seen, when it can be: then the proof begins there."""
        told = text.strip()
        if not (told.isascii() and told.isdigit() and int(told[:20]) <= size):
            raise WitnessError(
                f"The witness {self.url} says it has seen {told[:40]!r} events of this log, and there are {size}: it was shown "
                "another history, or this one is an older copy. Look into it before anything else."
            )
        return int(told)
