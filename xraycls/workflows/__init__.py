"""What a user asks for, composed of the stages before: train, test, predict, explain, prune, export."""
