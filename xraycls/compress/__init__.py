"""A trained network becomes a smaller one: structured pruning."""
