"""The waker's access to libvirt, with libvirt's test driver, where no guest serves."""

import asyncio
import threading
from pathlib import Path

import libvirt
import pytest

from schemas.capacity import Size
from schemas.house import HostPlace
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.libvirt.templates import TemplateMissingError
from services.waker.port import Definition, Domain, HypervisorError, Unknown, domain_name
from tests.support import eventually, free_port

XML = """\
<domain type='test'>
  <name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>{memory_mib}</memory><vcpu>{vcpu}</vcpu>
  <os><type>hvm</type></os>
</domain>
"""


@pytest.fixture
def place(tmp_path: Path) -> HostPlace:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "domain.xml").write_text(XML)
    return HostPlace("h1", "test:///default", "test", 1024, free_port())


def _definition(org: str, vm: str, template: str = "tiny") -> Definition:
    return Definition(org, "web", vm, Size("vs.tiny", 1, 64), template)


async def test_the_test_driver_answers_as_libvirt_with_qemu_does(tmp_path: Path, place: HostPlace) -> None:
    host = Libvirt(place, tmp_path)
    heard: list[tuple[str, str, str]] = []
    host.watch(lambda name, state, detail: heard.append((name, state, detail)))
    await host.connect()
    name = (await host.define(_definition("driver", "web-1"))).name
    await host.start(name)
    with pytest.raises(HypervisorError, match="refused to start"):
        await host.start(name)
    for _ in range(2):
        await host.suspend(name)
    assert await host.state(name) == "paused"
    for _ in range(2):
        await host.resume(name)
    listed = [one for one in await host.domains() if isinstance(one, Domain) and one.org == "driver"]
    assert [(one.vm, one.size.name, one.state) for one in listed] == [("web-1", "vs.tiny", "running")]
    for _ in range(2):
        await host.stop(name)
    for refused in (host.suspend(name), host.resume(name)):
        with pytest.raises(HypervisorError):
            await refused
    assert await host.state(name) == "off"
    assert await host.state(domain_name("driver", "web-9")) == "missing"
    await eventually(lambda: (name, "off", "destroyed") in heard)
    assert [state for _, state, _ in heard] == ["running", "paused", "running", "off"]
    await host.close()


async def test_a_domain_of_the_test_driver_is_saved_and_goes_on_from_there(
    tmp_path: Path, place: HostPlace
) -> None:
    host = Libvirt(place, tmp_path)
    heard: list[tuple[str, str]] = []
    host.watch(lambda _name, state, detail: heard.append((state, detail)))
    await host.connect()
    name = (await host.define(_definition("saves", "web-1"))).name
    with pytest.raises(HypervisorError):
        await host.save(name)
    await host.start(name)
    with pytest.raises(HypervisorError, match="refused to refresh"):
        await host.refresh(name)
    await host.suspend(name)
    for _ in range(2):
        assert await host.save(name) > 0
    assert await host.state(name) == "saved"
    assert [one.state for one in await host.domains() if one.name == name] == ["saved"]
    assert await host.define(_definition("saves", "web-1"))
    await host.start(name)
    assert await host.state(name) == "running"
    await host.suspend(name)
    await host.save(name)
    await host.stop(name)
    assert await host.state(name) == "off"
    await eventually(lambda: ("saved", "saved") in heard)
    await host.close()


async def test_a_domain_whose_mark_cannot_be_read_is_listed_as_unknown_and_said_once(
    tmp_path: Path, place: HostPlace, caplog: pytest.LogCaptureFixture
) -> None:
    first, later = Libvirt(place, tmp_path), Libvirt(place, tmp_path)
    await first.connect()
    name = (await first.define(_definition("mark", "web-1"))).name
    await first.start(name)
    (whole,) = [one for one in await first.domains() if one.name == name]
    with libvirt.open(place.uri) as connection:
        domain = connection.lookupByName(name)
        kind, namespace = libvirt.VIR_DOMAIN_METADATA_ELEMENT, "urn:virtscale:domain:1"
        mark = domain.metadata(kind, namespace)
        domain.setMetadata(kind, "<vm>{broken</vm>", "vs", namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        await later.connect()
        for _ in range(2):
            assert Unknown(name, "running") in await later.domains()
        assert len([one for one in caplog.records if name in one.getMessage()]) == 1
        domain.setMetadata(kind, mark, "vs", namespace, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        assert whole in await later.domains()
    await first.stop(name)
    await later.close()
    await first.close()


async def test_a_domain_whose_mark_cannot_be_read_is_stopped_and_undefined_by_its_name(
    tmp_path: Path, place: HostPlace
) -> None:
    first, later = Libvirt(place, tmp_path), Libvirt(place, tmp_path)
    await first.connect()
    name = (await first.define(_definition("mark", "web-3"))).name
    await first.start(name)
    await first.close()
    kind, namespace = libvirt.VIR_DOMAIN_METADATA_ELEMENT, "urn:virtscale:domain:1"
    with libvirt.open(place.uri) as connection:
        both = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
        connection.lookupByName(name).setMetadata(kind, "<vm>{broken</vm>", "vs", namespace, both)
    await later.connect()
    await later.stop(name)
    assert await later.state(name) == "off"
    await later.undefine(name)
    assert await later.state(name) == "missing"
    await later.close()


@pytest.mark.parametrize(
    ("says", "instead"), [("mark", "MARK"), ("web-1", "web_1"), ("web-1", "web-2"), ('"vcpu":1', '"vcpu":-1')]
)
async def test_a_domain_whose_mark_says_what_cannot_be_is_listed_as_unknown(
    tmp_path: Path, place: HostPlace, says: str, instead: str
) -> None:
    first, later = Libvirt(place, tmp_path), Libvirt(place, tmp_path)
    await first.connect()
    name = (await first.define(_definition("mark", "web-1"))).name
    with libvirt.open(place.uri) as connection:
        domain = connection.lookupByName(name)
        kind, namespace = libvirt.VIR_DOMAIN_METADATA_ELEMENT, "urn:virtscale:domain:1"
        mark = domain.metadata(kind, namespace)
        wrong = mark.replace(says, instead)
        assert wrong != mark
        domain.setMetadata(kind, wrong, "vs", namespace, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        await later.connect()
        assert Unknown(name, "off") in await later.domains()
        domain.setMetadata(kind, mark, "vs", namespace, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    await later.close()
    await first.close()


async def test_what_nobody_foresaw_is_an_error_of_the_call_in_which_it_came(
    tmp_path: Path, place: HostPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refresh(_domain: libvirt.virDomain) -> int:
        raise KeyError("count")

    monkeypatch.setattr("services.waker.libvirt.agent.refresh", refresh)
    host = Libvirt(place, tmp_path)
    await host.connect()
    name = (await host.define(_definition("odd", "web-1"))).name
    with pytest.raises(HypervisorError, match="KeyError: 'count'"):
        await host.refresh(name)
    assert await host.state(name) == "off"
    await host.close()


async def test_a_definition_can_be_repeated_and_each_vm_keeps_its_own_port(
    tmp_path: Path, place: HostPlace
) -> None:
    host = Libvirt(place, tmp_path)
    await host.connect()
    first, second = await asyncio.gather(*(host.define(_definition("ports", f"web-{n}")) for n in (1, 2)))
    assert first.address != second.address
    assert await host.define(_definition("ports", "web-1")) == first
    # The test driver forgets everything with its last connection, so the next life begins before the first ends.
    again = Libvirt(_elsewhere(place), tmp_path)
    await again.connect()
    assert await again.define(_definition("ports", "web-1")) == first
    await again.close()
    await host.close()


def _elsewhere(place: HostPlace) -> HostPlace:
    return HostPlace(place.name, place.uri, place.substrate, place.memory_mib, place.first_port + 100)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("<domain><name>{name}</name>{disk}</domain>", "placeholder"),
        ("<domain/>", "must have a <name>"),
    ],
)
async def test_a_template_that_cannot_be_used_is_refused_in_one_sentence_for_good(
    tmp_path: Path, place: HostPlace, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "domain.xml").write_text(text)
    host = Libvirt(place, tmp_path)
    await host.connect()
    with pytest.raises(TemplateMissingError, match=said) as caught:
        await host.define(_definition("bad", "web-1", "bad"))
    assert caught.value.final
    await host.close()


async def test_a_call_that_nobody_waits_for_any_more_still_comes_before_the_next_on_its_domain(
    tmp_path: Path, place: HostPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.waker.libvirt.hypervisor.CALL_SECONDS", 0.05)
    host = Libvirt(place, tmp_path)
    hung, made = threading.Event(), []
    with pytest.raises(HypervisorError, match="did not answer"):
        await host._call("hang", lambda: hung.wait(10) and made.append("first"), chain="web-1")
    with pytest.raises(HypervisorError, match="did not answer"):
        await host._call("be late", lambda: made.append("late"), chain="web-1")
    await host._call("pass by", lambda: made.append("other"), chain="web-2")
    hung.set()
    monkeypatch.setattr("services.waker.libvirt.hypervisor.CALL_SECONDS", 5.0)
    await host._call("follow", lambda: made.append("next"), chain="web-1")
    assert made == ["other", "first", "next"]


async def test_no_libvirtd_is_a_lost_connection_that_says_where(tmp_path: Path) -> None:
    nowhere = HostPlace("h1", f"qemu:///session?socket={tmp_path}/none", "tcg", 1024, 21_000)
    host = Libvirt(nowhere, tmp_path)
    with pytest.raises(HypervisorError, match="none") as caught:
        await host.connect()
    assert caught.value.lost
    with pytest.raises(HypervisorError, match="no connection"):
        await host.domains()


@pytest.mark.parametrize("how", ["off", "running", "saved", "missing"])
async def test_a_domain_is_undefined_whatever_it_is_and_its_port_is_free(
    tmp_path: Path, place: HostPlace, how: str
) -> None:
    host = Libvirt(place, tmp_path)
    await host.connect()
    name, vm = domain_name("gone", f"vm-{how}"), f"vm-{how}"
    address = None
    if how != "missing":
        address = (await host.define(_definition("gone", vm))).address
        if how != "off":
            await host.start(name)
        if how == "saved":
            await host.suspend(name)
            await host.save(name)
    for _ in range(2):
        await host.undefine(name)
        assert await host.state(name) == "missing"
    again = await host.define(_definition("gone", "other"))
    assert address in {None, again.address}
    await host.undefine(again.name)
    await host.close()


async def test_what_a_guest_said_on_its_console_goes_with_its_domain_and_nobody_elses(
    tmp_path: Path, place: HostPlace
) -> None:
    logs = tmp_path / "console"
    logs.mkdir()
    serial = f"<serial type='pty'><log file='{logs}/{{name}}.log'/></serial><serial type='pty'><log file='{logs}/all.log'/></serial>"
    (tmp_path / "tiny" / "domain.xml").write_text(
        XML.replace("</domain>", f"<devices>{serial}</devices></domain>")
    )
    host = Libvirt(place, tmp_path)
    await host.connect()
    name = (await host.define(_definition("said", "db"))).name
    for one in (f"{name}.log", f"{name}.log.0", f"{name}-2.log", "all.log"):
        (logs / one).write_text("login: root")
    await host.undefine(name)
    assert sorted(one.name for one in logs.iterdir()) == ["all.log", f"{name}-2.log"]
    await host.close()


async def test_a_domain_of_others_is_retired_only_while_it_is_off_and_by_its_own_name(
    tmp_path: Path, place: HostPlace
) -> None:
    host = Libvirt(place, tmp_path)
    await host.connect()
    filled = XML.format(name="old-db", uuid="7c1ef0a0-0000-4000-8000-00000000db01", memory_mib=64, vcpu=1)
    with libvirt.open(place.uri) as connection:
        domain = connection.defineXML(filled)
        own = domain.UUIDString()
        with pytest.raises(HypervisorError, match="is called old-db by now, and not older") as refused:
            await host.retire("older", own)
        assert refused.value.final
        domain.create()
        assert await host.retire("old-db", own) == "running"
        domain.destroy()
        assert await host.retire("old-db", own) == "off"
        assert await host.retire("old-db", own) == "missing"
        assert "old-db" not in [one.name() for one in connection.listAllDomains()]
    await host.close()
