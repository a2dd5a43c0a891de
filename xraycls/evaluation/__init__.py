"""Predictions become figures with intervals, pictures and a page."""
