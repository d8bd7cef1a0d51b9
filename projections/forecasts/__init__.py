"""What each pool was last thought to need."""
