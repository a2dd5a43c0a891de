"""Where files lie that xraycls makes or fetches once and reads again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XRAYCLS_CACHE``, else ``$XDG_CACHE_HOME/xraycls``, else ``~/.cache/xraycls``; it may not exist yet."""
    if own := os.environ.get("XRAYCLS_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "xraycls"
