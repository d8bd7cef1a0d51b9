"""Demand and capacity of each pool over the last day, in windows of five minutes."""
