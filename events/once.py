"""What ends something is heard once, however often and however late it is told: the name may be another's by then."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Once:
    """Ends that were heard, by the id of the order or deletion that they end."""

    _heard: set[str] = field(default_factory=set[str])

    def first(self, *parts: str) -> bool:
        """Whether this end was not heard before; from now on it was."""
        end = "/".join(parts)
        if end in self._heard:
            return False
        self._heard.add(end)
        return True
