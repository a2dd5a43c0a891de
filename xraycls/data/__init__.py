"""Files on disk become a table of samples: reading, preparing, splitting, converting and auditing data sets."""
