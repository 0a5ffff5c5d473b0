"""No secret in a log line, in whatever value it stands."""

from __future__ import annotations

from repick.logs import redacted

KEY = "rpk_0123456789ab_" + "f" * 64


def test_keys_and_passwords_are_cut_out_wherever_they_stand() -> None:
    event = {
        "event": f"refused {KEY}",
        "exception": "OperationalError: postgresql+psycopg://repick:geheim@db:5432/repick",
        "several": [KEY, {"url": "redis://:geheim@valkey:6379/0"}],
        "ms": 1.5,
    }
    told = str(redacted(None, "info", event))
    assert "geheim" not in told
    assert "f" * 20 not in told
    assert "rpk_0123456789ab_[secret]" in told
    assert "repick:[secret]@db:5432" in told
    assert "1.5" in told
