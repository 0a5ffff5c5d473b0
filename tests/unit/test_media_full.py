"""A media folder whose disk is full in the middle of a file: said so, and nothing half-stored."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from repick.media import MediaFolder

ROOM = 100_000
"""What a file may have in the child: as on a disk with so much left, a longer one is cut off there
first, and only the next write is refused."""
CHILD = f"""
import hashlib, resource, sys
from pathlib import Path
from repick.errors import Unavailable
from repick.media import MediaFolder

resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, {ROOM}))
small, large = b"s" * 1000, b"l" * 3 * {ROOM}
for data in (small, large):
    try:
        MediaFolder(Path(sys.argv[1])).put(1, hashlib.sha256(data).digest(), data)
    except Unavailable as exc:
        print(len(data), exc.code)
    else:
        print(len(data), "stored")
"""


def test_image_that_does_not_fit_is_refused_whole(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.stdout.splitlines() == ["1000 stored", f"{3 * ROOM} unavailable"]
    small = b"s" * 1000
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert names == [hashlib.sha256(small).hexdigest()], "nothing beside it, nothing half-written"
    assert MediaFolder(tmp_path).get(1, hashlib.sha256(small).digest()) == small
