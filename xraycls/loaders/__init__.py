"""Samples become batches of pictures on the device."""
