"""Networks that give boxes, and the pure functions of anchors, targets, losses and suppression."""
