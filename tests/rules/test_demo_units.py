"""Whether capacity was there before demand: units of demand counted second by second."""

from collections.abc import Iterable

from virtscale.demo.units import HOLD_SECONDS, Units


def counted(seconds: Iterable[tuple[float, int]], reserve: int = 1) -> Units:
    units = Units()
    for demand, serving in seconds:
        units.look(demand, serving, reserve)
    return units


def test_what_is_there_at_the_beginning_is_no_unit() -> None:
    units = counted([(3.5, 5)] * 10)
    assert (units.units, units.hit_percent, units.seconds, units.short_seconds) == (0, None, 10, 0)


def test_a_unit_is_a_hit_where_a_vm_beyond_the_reserve_served_already() -> None:
    units = counted([(0.5, 2), (1.5, 3), (2.5, 3), (3.5, 3)])
    assert (units.units, units.hits, units.absorbed, units.late) == (3, 1, 1, 1)
    assert units.short_seconds == 1
    assert units.hit_percent is not None
    assert round(units.hit_percent) == 33


def test_a_need_is_held_for_ninety_seconds_so_that_noise_is_one_unit_and_a_second_wave_another() -> None:
    noisy = [(1.5 if second % 2 else 0.5, 3) for second in range(60)]
    assert counted(noisy).units == 1
    calm = [(0.5, 3)] * (HOLD_SECONDS + 1)
    assert counted([(0.5, 3), (1.5, 3), *calm, (1.5, 3)]).units == 2
    assert counted([(0.5, 3), (1.5, 3), *calm[2:], (1.5, 3)]).units == 1


def test_several_units_in_one_second_are_judged_one_by_one() -> None:
    units = counted([(0.5, 3), (3.5, 3)])
    assert (units.units, units.hits, units.absorbed, units.late) == (3, 1, 1, 1)
