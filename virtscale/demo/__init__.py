"""A day of demand, played against real VMs or against simulated ones: what the forecaster does, to look at."""
