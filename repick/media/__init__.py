"""Original image bytes by hash: a folder, or an object store.

A path is `<tenant>/<first two digits>/<sha256>`, in both: nothing is shared across tenants, and a
prefix is a tenant's whole store.
"""

from __future__ import annotations

from repick.errors import Unavailable
from repick.media.folder import MediaFolder
from repick.media.objects import MediaObjects
from repick.media.store import MediaStore
from repick.settings import Settings

__all__ = ["MediaFolder", "MediaObjects", "MediaStore", "media_store"]


def media_store(settings: Settings) -> MediaStore:
    """The store that the settings name: `media_url`'s objects, or else the folder.

    Raises Unavailable where the address cannot be used or `obstore` is not installed.
    """
    if not settings.media_url:
        return MediaFolder(settings.media_folder)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as exc:
        detail = "REPICK_MEDIA_URL needs the extra `objectstore`"
        raise Unavailable(detail, code="no_object_store") from exc
    try:
        return MediaObjects(from_url(settings.media_url))
    except (BaseError, ValueError) as exc:
        # The reason names settings, not their values; the address may hold a secret.
        detail = "REPICK_MEDIA_URL does not name an object store that can be used"
        raise Unavailable(detail, code="bad_media_url", reason=type(exc).__name__) from exc
