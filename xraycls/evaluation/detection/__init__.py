"""Boxes found and boxes drawn become figures: average precision of every flavour, RSNA's metric, FROC, intervals."""
