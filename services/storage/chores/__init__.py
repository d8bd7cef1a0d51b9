"""What storage does for a VM besides its boots, growths, sleeps and copies."""
