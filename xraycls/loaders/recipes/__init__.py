"""Recipes: the distributions that views are drawn from, a file for each kind of training."""
