"""One waker per host, and one installation per house."""

from pathlib import Path

import pytest

from events.lock import TakenError, hold
from virtscale.world import Ports, World


def test_whoever_comes_second_is_told_who_is_there(tmp_path: Path) -> None:
    lock = tmp_path / "waker-h1.lock"
    with hold(lock, "Host h1 has a waker"):
        with (
            pytest.raises(TakenError, match=r"Host h1 has a waker already .process \d+"),
            hold(lock, "Host h1 has a waker"),
        ):
            pass
        with hold(tmp_path / "waker-h2.lock", "Host h2 has a waker"):
            pass
    with hold(lock, "Host h1 has a waker"):
        pass


async def test_a_house_that_is_up_is_not_started_again(tmp_path: Path) -> None:
    with hold(tmp_path / "up.lock", "it"), pytest.raises(TakenError, match="is up already"):
        async with World(tmp_path, Ports.free(), "test", print):
            pytest.fail("two installations stand on one ledger")
