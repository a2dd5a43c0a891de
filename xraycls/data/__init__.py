"""Files on disk become a table of samples."""
