import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import nats
import nats.errors
import nkeys
import pytest
from nats.aio.client import Client

from lab.bus import BusServer, BusUser, find_server, require_version
from lab.errors import LabError
from lab.ports import free_ports


@dataclass(frozen=True)
class Key:
    public: str
    seed: bytes


def _key() -> Key:
    seed = bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    return Key(bytes(nkeys.from_seed(bytearray(seed)).public_key).decode(), seed)


async def _silent(_: Exception) -> None:
    """The client reports denials here; the tests look at their effect."""


async def _connect(bus: BusServer, key: Key) -> Client:
    return await nats.connect(
        bus.url, nkeys_seed_str=key.seed.decode(), allow_reconnect=False, connect_timeout=2, error_cb=_silent
    )


ADMIN = _key()
EVERYTHING = BusUser("admin", ADMIN.public, (">",), (">",))


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[BusServer]:
    port, monitor_port = free_ports(2)
    server = BusServer(tmp_path, port, [EVERYTHING], monitor_port=monitor_port)
    await server.start()
    yield server
    await server.stop()


async def test_a_wrong_key_is_refused(bus: BusServer) -> None:
    client = await _connect(bus, ADMIN)
    await client.close()
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await _connect(bus, _key())
    with pytest.raises(nats.errors.Error):
        await nats.connect(bus.url, allow_reconnect=False, connect_timeout=2, error_cb=_silent)


async def test_an_acknowledged_message_survives_a_killed_server(bus: BusServer) -> None:
    client = await _connect(bus, ADMIN)
    await client.jetstream().add_stream(name="S", subjects=["s.>"])
    ack = await client.jetstream().publish("s.one", b"kept")
    await bus.kill()
    await client.close()
    await bus.part.start()
    client = await _connect(bus, ADMIN)
    assert (await client.jetstream().get_msg("S", ack.seq)).data == b"kept"
    await client.close()


async def test_a_reload_adds_a_user_and_keeps_those_who_are_connected(bus: BusServer) -> None:
    admin, newcomer = await _connect(bus, ADMIN), _key()
    await bus.reload([EVERYTHING, BusUser("shop", newcomer.public, ("in.>",), ("_INBOX_shop.>",))])
    client = await _connect(bus, newcomer)
    heard = await admin.subscribe("in.>")
    await admin.flush()
    await client.publish("in.acme", b"hello")
    await client.flush()  # a connection that was cut says so here
    assert (await heard.next_msg(2)).data == b"hello"
    await client.close()
    await admin.close()


async def test_empty_permissions_allow_nothing(bus: BusServer) -> None:
    admin, mute = await _connect(bus, ADMIN), _key()
    await bus.reload([EVERYTHING, BusUser("mute", mute.public, (), ())])
    client = await _connect(bus, mute)
    heard, overheard = await admin.subscribe(">"), await client.subscribe(">")
    await admin.flush()
    await client.publish("a.b", b"not mine to say")
    await client.flush()
    await admin.publish("c.d", b"not mine to hear")
    assert (await heard.next_msg(2)).subject == "c.d"
    with pytest.raises(nats.errors.TimeoutError):
        await overheard.next_msg(0.2)
    await client.close()
    await admin.close()


async def test_a_refused_configuration_leaves_the_old_users_in_force(bus: BusServer) -> None:
    before = bus.configuration.read_text()
    with pytest.raises(LabError) as caught:
        await bus.reload([EVERYTHING, BusUser("broken", "not-a-key", (), ())])
    assert caught.value.code == "lab.bus-config-refused"
    assert bus.configuration.read_text() == before
    assert bus.configuration.stat().st_mode & 0o777 == 0o600
    await (await _connect(bus, ADMIN)).close()


async def test_a_second_bus_on_the_same_port_is_refused_in_one_sentence(
    bus: BusServer, tmp_path: Path
) -> None:
    with pytest.raises(LabError) as caught:
        await BusServer(tmp_path / "second", bus.port, [EVERYTHING]).start()
    assert caught.value.code == "lab.port-taken"


async def test_an_older_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.9.10'\n")
    old.chmod(0o755)
    monkeypatch.setenv("VIRTSCALE_NATS_SERVER", str(old))
    with pytest.raises(LabError) as caught:
        await require_version(find_server())
    assert caught.value.code == "lab.bus-too-old"
    assert "2.9.10" in str(caught.value)
