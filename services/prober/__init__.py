"""The prober: talks to guests, and says when one is ready."""
