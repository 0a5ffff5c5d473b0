"""The name of a corpus in a path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from api.ingest import no_corpus
from repick.specs import NAME


async def corpus_name(corpus: str) -> str:
    """A dependency; raises NotFound for what cannot be a name, before the database sees it."""
    if not NAME.fullmatch(corpus):
        raise no_corpus()
    return corpus


CorpusName = Annotated[str, Depends(corpus_name)]
