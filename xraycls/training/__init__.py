"""Networks learn from batches."""
