"""Networks, their weights and the classifier that wraps them: batches → logits."""
