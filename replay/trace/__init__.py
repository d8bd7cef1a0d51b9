"""An activation as a trace that other tools read."""
