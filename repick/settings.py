"""One frozen Settings, read from the environment (REPICK_…) at the entry points and passed down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from repick.specs import Enhancement, Positions, Readout

_PAPER = Enhancement()
_POSTGRES = {"postgres", "postgresql", "postgresql+psycopg"}
_BROKERS = {"redis", "rediss", "redis+socket", "unix"}


class Settings(BaseSettings):
    """Every knob of the service; nothing is read at import."""

    model_config = SettingsConfigDict(env_prefix="REPICK_", frozen=True, extra="ignore")

    database_url: str = ""
    broker_url: str = ""
    data_dir: Path = Path(".repick")
    media_dir: Path | None = None
    """Folder of original image bytes; `data_dir/media` unless given."""
    media_url: str = ""
    """An object store in the folder's stead, as in `s3://bucket/prefix`; its own variables
    (AWS_…, GOOGLE_…, AZURE_…) hold credentials, region and endpoint."""
    secret: SecretStr = SecretStr("")
    """Signs list cursors; the same for every API process."""

    api_host: str = "127.0.0.1"
    api_port: int = 8077
    cors_origins: str = ""
    """Origins whose pages may call the API from a browser, a comma between; none unless given."""
    flower_port: int = 5577
    flower_password: SecretStr = SecretStr("")

    encoder: str = ""
    """Path or pinned hub id (`org/name@revision`) of the coarse model."""
    encoder_name: str = ""
    scorer: str = ""
    """Path or pinned hub id of the fine model."""
    scorer_name: str = ""
    readouts: str = "choice,choice_balanced,yes_no,true_false,right_wrong,rating,paper"
    dtype: str = "auto"
    device: str = "auto"
    min_pixels: int = 256 * 28 * 28
    max_pixels: int = 512 * 28 * 28
    enhancement_alpha: Annotated[float, Field(gt=0, le=1)] = _PAPER.alpha
    enhancement_gamma: Annotated[float, Field(ge=0)] = _PAPER.gamma
    enhancement_positions: Positions = _PAPER.positions
    enhancement_final_norm: bool = _PAPER.final_norm
    """Of the scorers that enhance (METHOD §3); another value is another scorer, with new scores."""

    url_hosts: str = ""
    """Hosts that images may be fetched from by https: names with commas between, `*.` for all below
    one. None: an image's address is refused."""
    url_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """For one image, from the look-up of its host to its last byte."""
    max_body_bytes: int = 64 * 1024 * 1024
    max_bodies_bytes: int = 512 * 1024 * 1024
    """Of all requests that an API process has in hand; one alone is always let in."""
    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    min_image_side: int = 3
    max_image_aspect: float = 200.0
    max_text_chars: int = 1_000_000
    max_query_chars: int = 8_192
    max_k: int = 1_000
    max_queries: int = 1_000
    max_streamed_queries: int = 20_000
    """Of a job that is sent as NDJSON, a query a line."""
    max_sent_pairs: int = 100_000
    """Queries times documents, where a job brings its documents along."""

    max_queued_pairs: Annotated[int, Field(ge=1)] = 10_000_000
    """Queries times k of all unfinished jobs but nightly ones; then a submit is told to wait."""
    max_queued_pairs_of_tenant: Annotated[int, Field(ge=1)] = 2_000_000
    requests_per_s: Annotated[float, Field(ge=0)] = 1_000
    """Of one key on one API process, twice as many at once; 0 is no limit."""
    max_streams: Annotated[int, Field(ge=1)] = 512
    """Answers that an API process holds open: event streams, downloads, waits for a job's end."""
    max_streams_of_tenant: Annotated[int, Field(ge=1)] = 128

    retrieve_slice_queries: Annotated[int, Field(ge=1)] = 64
    slice_pairs: Annotated[int, Field(ge=1)] = 64
    embed_batch: Annotated[int, Field(ge=1)] = 32
    batch_pairs: Annotated[int, Field(ge=1)] = 32
    """Pairs that are prepared together."""
    batch_tokens: Annotated[int, Field(ge=1)] = 32_768
    """Prompt tokens of a batch at most; a slow device gets smaller ones by itself."""
    pass_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of one forward pass, and so its activations; None for what suits the device."""
    vision_mib: Annotated[int, Field(ge=0)] | None = None
    """MiB of images' visual tokens kept on the device; None for what suits it."""
    vision_host_mib: Annotated[int, Field(ge=0)] | None = None
    """MiB of those kept on the host, once they fall out of the device's."""
    prefix_mib: Annotated[int, Field(ge=0)] | None = None
    """MiB of computed prompt fronts kept on the device."""
    batch_deadline_s: float = 20.0
    """A batch that computes for longer ends its process; its lease is then taken by another."""
    lease_margin_s: float = 10.0
    """A slice is leased for a batch's deadline and this; each committed batch renews it."""
    worker_threads: Annotated[int, Field(ge=1)] = 4
    """Threads of a worker that claim and prepare; the device thread is one more."""
    metrics_port: int = 0
    """Where a worker or the sweep answers Prometheus; 0 is off. The API has its own /metrics."""
    metrics_host: str = "127.0.0.1"
    nightly_jobs_per_tenant: Annotated[int, Field(ge=1)] = 2
    """Nightly jobs of a tenant that are worked on at once; the others wait in line."""
    webhooks_over_http: bool = False
    """Whether webhooks may be sent without TLS too; never to addresses that are not public."""
    max_webhooks: Annotated[int, Field(ge=0)] = 20
    """Of a tenant."""
    sweep_interval_s: float = 5.0
    keep_jobs_days: Annotated[float, Field(ge=1)] = 30
    """Of jobs and their rankings since their submit; whole weeks go at once, up to a week later."""
    keep_nightly_days: Annotated[float, Field(ge=1)] = 400
    """Of the jobs that schedules make."""
    keep_scores_days: Annotated[float, Field(ge=1)] = 30
    """Of pair scores since their last use, up to a week later; those of kept rankings stay."""
    retention_interval_s: Annotated[float, Field(gt=0)] = 600
    exact_search_rows: int = 20_000
    """Above this many vectors a space is searched through its own HNSW index."""

    @field_validator("database_url")
    @classmethod
    def _with_our_driver(cls, url: str) -> str:
        """Providers print `postgres://` or `postgresql://`; the driver is ours to name."""
        scheme, separator, rest = url.partition("://")
        if url and scheme not in _POSTGRES:
            raise ValueError("an address is postgresql://user:password@host:port/database")
        return f"postgresql+psycopg{separator}{rest}" if url else url

    @field_validator("broker_url")
    @classmethod
    def _of_a_broker(cls, url: str) -> str:
        if url and url.partition("://")[0] not in _BROKERS:
            raise ValueError("an address is redis://:password@host:port/0, or rediss://")
        return url

    @field_validator("readouts")
    @classmethod
    def _known(cls, names: str) -> str:
        """Blanks around the commas are let go."""
        found = [name.strip() for name in names.split(",")]
        if not set(found) <= set(Readout):
            raise ValueError(f"readouts are {', '.join(Readout)}, with commas between")
        return ",".join(found)

    @property
    def enhancement(self) -> Enhancement:
        return Enhancement(
            self.enhancement_alpha,
            self.enhancement_gamma,
            self.enhancement_positions,
            self.enhancement_final_norm,
        )

    @property
    def media_folder(self) -> Path:
        return self.media_dir or self.data_dir / "media"


def read_settings(**given: Any) -> Settings:
    """The settings of an entry point; a value that cannot be used ends the program with a sentence
    that names its variable, and not the value, which may hold a password."""
    try:
        return Settings(**given)
    except ValidationError as exc:
        faults = exc.errors(include_input=False, include_url=False)
        sys.exit("\n".join(f"error: {_variable(one)}: {_said(one['msg'])}" for one in faults))


def service_settings(*needed: str) -> Settings:
    """Those of a process of the service, for which `needed` have no default: the program ends with
    a sentence where one of them is not set."""
    settings = read_settings()
    if missing := [name for name in needed if not getattr(settings, name)]:
        sys.exit("\n".join(f"error: REPICK_{name.upper()} is not set" for name in missing))
    return settings


def _variable(fault: Any) -> str:
    return "REPICK_" + "_".join(map(str, fault["loc"])).upper()


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
