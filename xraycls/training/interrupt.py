"""Ctrl-C, a scheduler's SIGTERM and a closed terminal as a wish to stop at the next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from xraycls.errors import XrayclsError


class Interrupted(XrayclsError):
    """The user stopped the training; it is saved and can be resumed."""

    exit_code = 130


class StopWish:
    """Whether someone asked the training to stop."""

    def __init__(self) -> None:
        self.wanted = False


@contextmanager
def stop_on_signal() -> Iterator[StopWish]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a wish; a second SIGINT stops at once, as usual.

    A SIGHUP that is ignored, as ``nohup`` has it, stays ignored.

    Signals can only be caught in the main thread; elsewhere (some notebooks) nothing is changed.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.getsignal(number) for number in _signals()}

    def note(number: int, frame: FrameType | None) -> None:
        if wish.wanted and number == signal.SIGINT:
            raise KeyboardInterrupt
        wish.wanted = True

    for number in before:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    more = [hangup] if hangup and signal.getsignal(hangup) is not signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *more]
