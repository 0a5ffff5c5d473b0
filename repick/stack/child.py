"""`python child.py PARENT NICENESS COMMAND…`: becomes COMMAND, and dies with its parent.

Run by its path, and importing nothing of ours, because every start of a process waits for it.
Linux only knows how to say that from inside the child. Elsewhere a supervisor that was killed
leaves its children, and the next start in the same data folder ends them by its pid file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_GROUP = "/proc/self/autogroup"


def main() -> None:
    parent, niceness, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # SIGKILL: a graceful stop might never end, and every process stands a kill (leases).
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    if niceness:
        leave_cores_to_others(niceness)
    os.execvp(command[0], command)  # noqa: S606 - a shell in between would be the one that dies


def leave_cores_to_others(niceness: int) -> None:
    """Make this process, and where there is such a thing its session, as nice as that."""
    os.nice(niceness)
    _set_group(niceness)


def _set_group(niceness: int) -> None:
    """Where Linux shares time between sessions first (autogroup), of which each child is one.

    Unprivileged, one process in 100 ms may say so; without it a child runs, as nice as any.
    """
    for _ in range(10):
        try:
            with open(_GROUP, "w") as group:
                group.write(str(niceness))
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # no such kernel, or /proc cannot be written
            return
        else:
            return


if __name__ == "__main__":
    main()
