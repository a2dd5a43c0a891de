"""Load any trained model, read any picture, and predict."""
