"""Predictions become numbers and pictures."""
