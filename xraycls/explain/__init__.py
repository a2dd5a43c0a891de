"""Class activation maps and the pictures that show them."""
