"""What the forecaster counts."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

POOLS: Final = Gauge("virtscale_forecast_pools", "Pools that forecasts are made of.")
TICKS: Final = Counter("virtscale_forecast_ticks_total", "Ticks that were taken in.")
MADE: Final = Counter("virtscale_forecasts_made_total", "Forecasts told in the ledger.", ["reason"])
UNTOLD: Final = Counter(
    "virtscale_forecasts_untold_total",
    "Forecasts that the ledger did not take in time; their ticks are told with the next.",
)
ASKED: Final = Counter("virtscale_forecast_requests_total", "Requests that the intake took.", ["verb"])
UNHEARD: Final = Counter(
    "virtscale_forecast_requests_unheard_total",
    "Requests that the intake refused, or did not answer.",
    ["verb"],
)
WORK: Final = Histogram(
    "virtscale_forecast_tick_seconds",
    "From a tick's end until its forecasts are told and what they need is asked for.",
    buckets=(2.5, 2.75, 3.0, 3.5, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0),
)
CLOCK_OFF: Final = Gauge(
    "virtscale_forecast_clock_off_seconds",
    "How far the forecaster's clock is ahead of the bus's; beyond a minute the bus's counts.",
)
UNUSABLE: Final = Counter(
    "virtscale_forecast_unusable_total",
    "Kept states that could not be gone on with; the past is learnt anew.",
)
