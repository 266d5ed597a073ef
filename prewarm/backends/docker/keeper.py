"""The first program of a session's container: it waits, and ends the session when its time is up. Pure text.

It runs inside, so a session ends with every client and every prewarm process dead. A client that uses the session
sends it SIGUSR1 now and then. It needs ``/bin/sh`` and ``sleep`` of the image and nothing else; the clock is the
kernel's (``/proc``), so that a stopped and restarted container keeps its end.
"""

from __future__ import annotations

from typing import Final

EXPIRED: Final = 75  # EX_TEMPFAIL; what the keeper exits with, and nothing else here does.
TOUCH_SIGNAL: Final = "SIGUSR1"
_SLOWEST_TICK_S: Final = 15
_TEXT: Final = r"""
idle=$1 end=$2 slowest=$3 boot= busy=
trap 'busy=1' USR1
while read -r name value rest; do
  if [ "$name" = btime ]; then boot=$value; fi
done < /proc/stat
clock() { read -r up rest < /proc/uptime; now=$((boot + ${up%%.*})); }
clock
last=$now
while :; do
  clock
  if [ -n "$busy" ]; then busy= last=$now; fi
  left=$((idle - (now - last)))
  if [ $((end - now)) -lt $left ]; then left=$((end - now)); fi
  if [ $left -le 0 ]; then exit 75; fi
  if [ $left -gt $slowest ]; then left=$slowest; fi
  sleep $left
done
"""


def command(*, idle_s: float, ends_at: float) -> list[str]:
    """Give the keeper's argv.

    Args:
        idle_s: Seconds without a client's call after which it ends.
        ends_at: Seconds since the epoch at which it ends in any case.
    """
    return ["/bin/sh", "-c", _TEXT, "prewarm", str(max(1, round(idle_s))), str(round(ends_at)), str(_SLOWEST_TICK_S)]
