"""The commands `virtscale replay …`: views built anew, as they were, and what lay between two moments."""
