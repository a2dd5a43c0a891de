"""Sweeps: one training a combination of settings, in child processes or on a Ray cluster, and the best of them."""
