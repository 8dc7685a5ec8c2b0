"""Parameters, MACs and activation memory of a detector, without building it."""
