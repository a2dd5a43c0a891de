"""U-Net to boxes: the settings of its two recipes, and boxes, pictures and annotations of new films."""
