"""What the ledger may say of lost signals: each query is lost and found in turns, and a mail names only what was lost, once.

A loss of a query that its pool has no more, told by who had not read so yet, is none.
"""

from collections.abc import Iterator

from events.mail import MailAccepted, is_of_signals
from events.pool import PoolDefined
from events.signal import SignalFound, SignalLost
from projections.signals.fold import Place, places
from tests.simulation.world import World


def broken_signals(world: World) -> Iterator[str]:
    """Each promise about lost signals that was not kept."""
    lost: set[tuple[str, str, str, str]] = set()
    ids: set[str] = set()
    named: set[tuple[str, str]] = set()
    asked: dict[tuple[str, str], set[Place]] = {}
    for line in world.truth.lines:
        match line.fact:
            case SignalLost() as fact:
                key = (fact.org, fact.pool, fact.source, fact.query)
                if key in lost:
                    yield f"#{line.seq} tells a second time that {fact.pool} of {fact.org} is not heard."
                ids.add(line.id)
                if key[2:] in asked.get(key[:2], {key[2:]}):
                    lost.add(key)
            case SignalFound() as fact:
                key = (fact.org, fact.pool, fact.source, fact.query)
                if key not in lost:
                    yield f"#{line.seq} says that {fact.pool} of {fact.org} is heard again, which was not lost."
                lost.discard(key)
            case PoolDefined() as fact:
                kept = asked[fact.org, fact.pool] = places(fact.definition)
                lost = {key for key in lost if key[:2] != (fact.org, fact.pool) or (key[2], key[3]) in kept}
            case MailAccepted() as mail if is_of_signals(mail.message_id):
                for id_ in mail.requests:
                    if id_ not in ids:
                        yield f"#{line.seq} names {id_}, which is no loss."
                    if (mail.person, id_) in named and world.plan.dedup:
                        yield f"{mail.person} was told twice of {id_}, at #{line.seq} again."
                    named.add((mail.person, id_))
            case _:
                pass
