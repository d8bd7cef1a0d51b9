"""The face: the command line and the Python client."""
