"""Views built anew, as they were at any moment, and what changed in between."""
