"""Having one witness sign each checkpoint, while nobody waits for it."""

import asyncio
import logging
from functools import partial
from typing import Final

from events.bus.ledger import Bell
from events.tlog.writer import TilesUnwrittenError
from services.sealer import metrics
from services.sealer.archive import SealedArchive
from services.sealer.aside import Aside
from services.sealer.witness import Witness, WitnessError

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0

log = logging.getLogger("virtscale.sealer")


async def keep_asking(witness: Witness, archive: SealedArchive, aside: Aside, bell: Bell) -> None:
    """The witness signs each checkpoint, or each that is the newest when it has time, for ever.

    `bell` rings whenever there is a new one. A witness that does not sign is asked again, less and less often; it is said once.
    """
    said, pause_seconds = "", _FIRST_PAUSE_SECONDS
    while True:
        await bell.wait()
        last = archive.last
        if not last.note:
            continue
        try:
            signatures = await witness.add(last.size, last.note, archive.reader())
        except WitnessError as error:
            metrics.WITNESS_FAILURES.labels(witness.url).inc()
            if str(error) != said:
                said = str(error)
                log.warning("%s Nothing waits for it.", error)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            bell.ring()  # also where nothing new is sealed
            continue
        said, pause_seconds = "", _FIRST_PAUSE_SECONDS
        metrics.COSIGNED.labels(witness.url).set(last.size)
        try:
            await aside.call(partial(archive.cosign, last.size, signatures, witness.verifier))
        except (
            TilesUnwrittenError
        ) as error:  # the checkpoint stands without it, and the next one will be signed too
            metrics.UNWRITTEN.inc()
            log.warning("the signature of %s was not kept: %s", witness.url, error)
