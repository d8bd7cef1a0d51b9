"""The face: the command `virtscale`, and everything that it starts on one machine."""
