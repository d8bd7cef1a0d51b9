import datetime as dt
from pathlib import Path

import pytest

from projections.fleet.fold import Vm
from projections.fleet.life import NEXT, State
from services.announcer.config import mark, render, write
from services.announcer.decide import Aim, Step, aim, drain_seconds_left, repair
from services.announcer.haproxy import Haproxy, read_servers
from services.announcer.port import BalancerError, Server, ServerState
from services.announcer.state import Drain
from tests.told import SMALL

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
ADDRESS = "127.0.0.1:20001"
OWN = "backend be_acme_web\n    balance roundrobin\n    # servers of be_acme_web\nbackend be_acme_db\n"


def vm(state: State, *, stock: bool = False, address: str | None = ADDRESS) -> Vm:
    return Vm(
        "acme", "web-1", "web", "h1", SMALL, state, address=address, purpose="stock" if stock else "serve"
    )


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ("booting", "prepare"),
        ("waking", "prepare"),
        ("warm", "announce"),
        ("serving", "serve"),
        ("draining", "drain"),
        ("drained", "rest"),
        ("suspending", "rest"),
        ("quiesced", "rest"),
        ("stopping", "rest"),
        ("stopped", "rest"),
        ("unready", "rest"),
        ("unannounced", "rest"),
        ("stray", "rest"),
    ],
)
def test_only_what_serves_or_comes_to_serve_is_sent_work(state: State, wanted: Aim) -> None:
    assert aim(vm(state)) == wanted


def test_every_state_of_a_vm_has_its_place_in_the_balancer() -> None:
    states: set[State] = {state for state, _ in NEXT}
    for state in states | set(NEXT.values()):
        assert aim(vm(state))


@pytest.mark.parametrize("state", ["booting", "waking", "warm"])
def test_stock_and_vms_without_an_address_are_left_alone(state: State) -> None:
    assert aim(vm(state, stock=True)) == "rest"
    assert aim(vm(state, address=None)) == "rest"


@pytest.mark.parametrize(
    ("wanted", "found", "step"),
    [
        ("prepare", None, "add"),
        ("prepare", "maint", None),
        ("prepare", "ready", "maint"),
        ("serve", None, "add"),
        ("serve", "maint", "ready"),
        ("serve", "drain", "ready"),
        ("serve", "ready", None),
        ("rest", None, None),
        ("rest", "ready", "maint"),
        ("rest", "drain", "maint"),
        ("rest", "maint", None),
    ],
)
def test_what_the_balancer_has_is_led_step_by_step_to_what_it_should_have(
    wanted: Aim, found: ServerState | None, step: Step | None
) -> None:
    server = Server("be_acme_web", "web-1", ADDRESS, found) if found else None
    assert repair(wanted, ADDRESS, server) == step


def test_a_server_at_an_old_address_is_put_in_anew_before_it_gets_work() -> None:
    assert repair("serve", ADDRESS, Server("be_acme_web", "web-1", "127.0.0.1:9", "ready")) == "add"


@pytest.mark.parametrize(("gone", "left"), [(0, 45.0), (44, 1.0), (46, 0.0), (-3600, 45.0)])
def test_a_drain_never_lasts_longer_than_ordered_whatever_the_clocks_say(gone: int, left: float) -> None:
    drain = Drain("0" * 32, 45, NOW)
    assert drain_seconds_left(drain, NOW + dt.timedelta(seconds=gone)) == left


def test_the_file_lists_who_serves_below_the_mark_of_its_backend() -> None:
    text, homeless = render(OWN, {"be_acme_web": {"web-2": "127.0.0.1:2", "web-1": "127.0.0.1:1"}})
    assert text.splitlines()[2:5] == [
        "    # servers of be_acme_web",
        "    server web-1 127.0.0.1:1",
        "    server web-2 127.0.0.1:2",
    ]
    assert homeless == []
    assert mark("be_acme_web") in OWN


def test_in_a_backend_without_a_mark_they_stand_below_its_head() -> None:
    text, homeless = render(OWN, {"be_acme_db": {"db-1": "127.0.0.1:3"}})
    assert text == OWN + "    server db-1 127.0.0.1:3\n"
    assert homeless == []


def test_servers_without_a_backend_are_named_and_nothing_else_is_lost() -> None:
    text, homeless = render(
        OWN, {"be_acme_web": {"web-1": "127.0.0.1:1"}, "be_acme_new": {"new-1": "127.0.0.1:3"}}
    )
    assert homeless == ["be_acme_new"]
    assert "    server web-1 127.0.0.1:1" in text.splitlines()


def test_who_reads_the_file_never_sees_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    write(path, "first\n")
    before = path.stat().st_ino
    write(path, "second\n")
    assert path.read_text() == "second\n"
    assert path.stat().st_ino != before
    assert [file.name for file in tmp_path.iterdir()] == ["haproxy.cfg"]


def test_sessions_are_those_a_server_has_and_those_that_queue_for_it() -> None:
    said = (
        "# pxname,svname,qcur,scur,status,addr,\n"
        "be_acme_web,web-1,1,2,DRAIN,127.0.0.1:1,\n"
        "be_acme_web,web-2,0,0,no check,127.0.0.1:2,\n"
        "be_acme_web,web-3,,,MAINT (resolution),127.0.0.1:3,\n"
    )
    assert [(one.name, one.state, one.sessions) for one in read_servers(said).values()] == [
        ("web-1", "drain", 3),
        ("web-2", "ready", 0),
        ("web-3", "maint", 0),
    ]


@pytest.mark.parametrize(
    ("name", "address"),
    [("web-1;shutdown", ADDRESS), ("web 1", ADDRESS), ("web-1", "127.0.0.1:1 check"), ("web-1", "127.0.0.1")],
)
async def test_nothing_in_a_name_or_an_address_can_become_a_command(name: str, address: str) -> None:
    haproxy = Haproxy(Path("nowhere.sock"), Path("nowhere.cfg"), Path("own.cfg"))
    with pytest.raises(BalancerError) as caught:
        await haproxy.add("be_acme_web", name, address)
    assert caught.value.refused
    with pytest.raises(BalancerError):
        await haproxy.keep({"be_acme_web": {name: address}})
