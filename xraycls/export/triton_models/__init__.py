"""Programs for Triton's Python backend, which runs copies of them out of a model repository."""
