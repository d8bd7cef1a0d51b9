"""What each org uses of its contract: the gate's memory and the view's are the same fold."""
