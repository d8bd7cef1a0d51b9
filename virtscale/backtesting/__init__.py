"""`virtscale backtest`: the forecaster, run over a trace of the past, scored, and turned into a proposal."""
