"""`python child.py PARENT COMMAND…`: becomes COMMAND, and dies with its parent.

Run by its path, and importing nothing of ours, because every start of a process waits for it.
Linux only knows how to say that from inside the child. Elsewhere a supervisor that was killed
leaves its children, and the next start in the same data folder ends them by its pid file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # SIGKILL: a graceful stop might never end, and every process stands a kill (leases).
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the request was in place
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - a shell in between would be the one that dies


if __name__ == "__main__":
    main()
