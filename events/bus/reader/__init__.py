"""Reading far and fast: a connection of its own to the bus, and a parser for the one answer it reads."""
