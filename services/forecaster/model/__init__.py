"""The forecast model: `Model` takes in one demand per pool and tick, and answers with a `Forecast`."""

from services.forecaster.model.core import COVERAGE_BP, HORIZON_SECONDS, Forecast, Model, history_ticks_wanted

__all__ = ["COVERAGE_BP", "HORIZON_SECONDS", "Forecast", "Model", "history_ticks_wanted"]
