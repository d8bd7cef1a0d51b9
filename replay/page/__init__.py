"""The engineering page: one file of HTML without scripts, put together from strings that are escaped where they enter."""
