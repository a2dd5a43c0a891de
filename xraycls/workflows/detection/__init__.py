"""What users ask of detectors."""
