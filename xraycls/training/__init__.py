"""A model learns from batches: the loop, its tasks, schedules, optimisers, and the run folder that it writes."""
