"""Training of one genome by one recipe."""
