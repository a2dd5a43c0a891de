"""What a user asks for, composed of the stages below: train, test, predict, explain."""
