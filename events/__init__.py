"""What can happen: one file per noun; the envelope they travel in, the registry that lists them, and the bus."""
