"""A disk without room is said before anything starts."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.errors import LabError
from virtscale.world import LEAST_DISK_MIB, require_room


class Usage(NamedTuple):
    """As the operating system says it, in bytes."""

    total: int
    used: int
    free: int


def test_a_full_disk_is_one_sentence_with_the_number_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 7 * 2**20))
    with pytest.raises(
        LabError, match=rf"has 7 MiB free; .* at least {LEAST_DISK_MIB}\. Nothing was started"
    ):
        require_room(tmp_path)


def test_a_disk_with_room_is_not_mentioned(tmp_path: Path) -> None:
    require_room(tmp_path)
