"""The command line: parses, calls the library, prints."""

from xraycls.cli.app import main

__all__ = ["main"]
