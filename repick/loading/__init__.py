"""Loading a corpus through the API: from a folder, JSON lines or Parquet; parallel, resumable.

sources.py   what there is to load, as items in an order that stays the same
journal.py   which batches have arrived, so that a load that was stopped goes on
load.py      batches on their way, a few at a time
"""

from repick.loading.journal import Journal
from repick.loading.load import Loaded, load
from repick.loading.sources import PassedOver, Source, open_source

__all__ = ["Journal", "Loaded", "PassedOver", "Source", "load", "open_source"]
