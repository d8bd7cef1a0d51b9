"""Asking a witness to sign a checkpoint too: C2SP tlog-witness over HTTP, the proof from the archive's own tiles."""

import asyncio
from collections.abc import Sequence
from typing import Final

import httpx

from events.tlog import cosign
from events.tlog.note import NoteError, Signature, parse_signatures, split
from events.tlog.reader import Archive
from events.tlog.tiles import TileError
from events.tlog.tree import consistency
from services.sealer.halt import WitnessUnknownError

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
    """One witness: where it takes checkpoints, and its key. What it saw last it says itself, when we are wrong about it."""

    def __init__(self, place: str, client: httpx.AsyncClient) -> None:
        """`place` is the URL of its `add-checkpoint`, a space, and its public key (`name+hash+key`, C2SP type 0x04).

        Without the key nobody could tell its signature from one in somebody else's name, which makes others refuse the
        whole checkpoint. Raises `WitnessUnknownError`.
        """
        self.url, _, vkey = place.partition(" ")
        try:
            self.verifier = cosign.CosignVerifier.parse(vkey)
        except NoteError as error:
            raise WitnessUnknownError(
                f"The house names the witness {place[:200]!r}, and not by its URL, a space and its public key: {error} Nothing was "
                "signed and nobody may append. Write it so in `witnesses`, or leave it out."
            ) from error
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
            if not self._is_by_it(one, split(note)[0]):
                raise WitnessError(
                    f"The witness {self.url} answered with a signature by {one.name} that is not its own."
                )
        return signatures

    def _is_by_it(self, one: Signature, text: str) -> bool:
        known = self.verifier
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
