"""What a run says before it begins and after it has ended."""

from replay.figures.clients import Clients
from virtscale.demo import setting
from virtscale.demo.day import Piece, hour_of, steepest_per_minute
from virtscale.demo.units import Units


def beginning(piece: Piece) -> list[str]:
    """What is about to be played, by which numbers, and what its speed means."""
    stretch = f"{hour_of(piece.from_second)} to {hour_of(piece.to_second)}"
    lines = [
        (
            f"{piece.day.name} from {stretch} for {piece.vms} VMs, at {piece.speed:g} times its speed: "
            f"{piece.seconds / 60:.1f} minutes"
        )
    ]
    steepest = steepest_per_minute(piece)
    if piece.speed > 1:
        lines.append(
            "only the curve is faster: every clock is as ever, and so are horizon, cooldown and drain, so that for the "
            f"forecaster each ramp is {piece.speed:g} times as steep; the steepest needs {steepest:.1f} VMs more within a minute"
        )
    lines.append(
        f"one VM carries {setting.PER_VM:g} requests/s; cooldown {setting.COOLDOWN_SECONDS} s, drain {setting.DRAIN_SECONDS} s, "
        f"horizon {setting.horizon_seconds(piece.speed)} s, 5 % of the quota in reserve and at least one VM, no more than {setting.cap_vms(piece.vms)} VMs by contract"
    )
    return lines


def ending(units: Units) -> list[str]:
    """Whether capacity was there in time."""
    return _units(units)


def sentences(seen: Clients) -> list[str]:
    """What the users saw, line by line."""
    lines = _units(seen)
    lines.append(
        f"requests   {seen.requests:,}, of which {seen.failed} failed and {seen.waited} waited more than "
        f"{seen.wait_ms:g} ms for a VM that had just been woken"
    )
    if seen.p50_ms is not None and seen.p99_ms is not None:
        lines.append(f"latency    {seen.p50_ms:.1f} ms p50, {seen.p99_ms:.1f} ms p99, as the clients saw it")
    if seen.tax_ms is not None:
        lines.append(
            f"tax        {seen.tax_ms:+.1f} ms: the mean of {seen.fresh:,} requests to VMs within {seen.fresh_seconds} s of "
            f"their wake, beside the median of all others ({seen.steady_p50_ms:.1f} ms)"
        )
    elif seen.requests:
        lines.append("tax        no request met a VM that had just been woken")
    return lines


def _units(seen: Units | Clients) -> list[str]:
    share = f" ({100 * seen.hits / seen.units:.1f} %)" if seen.units else ""
    came = (
        f"demand came to need {seen.units} VMs more, one after another: {seen.hits} found a VM awake{share}"
    )
    return [
        f"units      {came}, {seen.absorbed} took the reserve, {seen.late} came before capacity did",
        f"short      {seen.short_seconds:,} of {seen.seconds:,} s with more demand than VMs that served",
    ]
