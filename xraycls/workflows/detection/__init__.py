"""What users ask of detectors: training, evaluation, inference and pruning, from a job or from a TAO spec."""
