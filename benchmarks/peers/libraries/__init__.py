"""One file a library; each function sets a pipeline up for a task."""
