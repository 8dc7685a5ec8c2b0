"""Train one genome by one recipe."""
