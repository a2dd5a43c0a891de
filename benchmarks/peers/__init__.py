"""Everything that people would use instead of our loader, and us, in one interleaved run; see ``__main__``."""
