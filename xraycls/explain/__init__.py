"""Where a classifier looks: class activation maps, overlays, and boxes drawn on pictures."""
