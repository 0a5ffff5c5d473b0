"""The error tree.

RepickError
├── InputError            the caller sent something that cannot be used; nothing was stored
│   ├── InvalidField      a named field has a wrong value
│   └── ContentError      a text or image that cannot become content; also an item's error
├── NotFound              no such thing for this tenant
├── Conflict              the thing exists, but its state forbids the request
├── NotInstalled          an optional part of this installation is missing
├── Unavailable           a server that we need did not answer; try again
│   ├── NotMigrated       the database has no schema yet, or an older one than this code's
│   ├── CommitUnknown     the answer to a COMMIT was lost: it happened or not
│   └── StatementTimeout  the database gave a statement up: it took too long
├── AddressBlocked        a host that somebody named leads to an address that is not public
└── ModelError            a checkpoint or its scores cannot be used; the worker refuses to serve
    ├── UnsupportedFamily no adapter knows this architecture
    ├── UnsafeCheckpoint  not safetensors, not pinned, or would run remote code
    └── SelfTestFailed    golden pairs are not told apart

Each error carries a stable `code` for programs, a sentence for people, and the ids it is about.
HTTP statuses belong to the edge (`api/problems.py`).
"""

from __future__ import annotations


class RepickError(Exception):
    """Base of all errors of ours; `code` is stable, `ids` name what it is about."""

    code = "internal_error"

    def __init__(self, detail: str, *, code: str | None = None, **ids: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.ids = {name: str(value) for name, value in ids.items()}


class InputError(RepickError):
    code = "invalid_request"


class InvalidField(InputError):
    """`field` is the path of the offending value, as in `queries[2].text`."""

    code = "invalid_field"

    def __init__(self, field: str, detail: str, *, code: str | None = None, **ids: object) -> None:
        super().__init__(detail, code=code, **ids)
        self.field = field


class ContentError(InputError):
    """A text or image that cannot become content; `retryable` when a later try may succeed."""

    code = "decode_error"

    def __init__(self, code: str, detail: str, *, retryable: bool = False, **ids: object) -> None:
        super().__init__(detail, code=code, **ids)
        self.retryable = retryable


class NotFound(RepickError):
    code = "not_found"


class Conflict(RepickError):
    code = "conflict"


class NotInstalled(RepickError):
    code = "not_installed"


class Unavailable(RepickError):
    code = "unavailable"


class NotMigrated(Unavailable):
    code = "not_migrated"


class CommitUnknown(Unavailable):
    """Read back what was to be stored, or store it again under the same id; never assume."""

    code = "commit_unknown"


class StatementTimeout(Unavailable):
    """Again and again, it is the fault of what was asked; of a busy database, now and then."""

    code = "statement_timeout"


class AddressBlocked(RepickError):
    code = "address_blocked"


class ModelError(RepickError):
    code = "model_error"


class UnsupportedFamily(ModelError):
    code = "unsupported_family"


class UnsafeCheckpoint(ModelError):
    code = "unsafe_checkpoint"


class SelfTestFailed(ModelError):
    code = "self_test_failed"
