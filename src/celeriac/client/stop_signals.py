"""Names and numbers of the signals with which a running task is ended."""

from __future__ import annotations

import difflib
import signal as signals
from typing import Final

from celeriac.exceptions import ArgumentError

DEFAULT: Final = "SIGTERM"


def signal_name(signal: str | int | None) -> str:
    """Return a signal's full name (`"SIGTERM"` for `"TERM"`, `"sigterm"` or 15), its number as text where it has no name.

    None is SIGTERM.  Raises `ArgumentError`, with the nearest name, for what is no signal here.
    """
    if signal is None:
        return DEFAULT
    if isinstance(signal, str) and not signal.strip().isdecimal():
        name = signal.strip().upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        if name in signals.Signals.__members__:
            return name
        near = difflib.get_close_matches(name, signals.Signals.__members__, n=1)
        raise ArgumentError(f"there is no signal {signal!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if isinstance(signal, bool) or not isinstance(signal, str | int):
        raise ArgumentError(f"signal = {signal!r}: a name such as 'SIGTERM' or a number is wanted")
    number = int(signal)
    if number not in signals.valid_signals():
        raise ArgumentError(f"there is no signal with the number {number} here")
    try:
        return signals.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last
        return str(number)


def signal_number(name: str) -> int:
    """Return the number of a signal by its name as `signal_name` writes it; that of SIGTERM for one unknown here."""
    if name.isdecimal():
        return int(name)
    return int(signals.Signals.__members__.get(name, signals.SIGTERM))
