# Coarse and fine workers. TORCH_INDEX chooses another build of torch, as the CPU's.
FROM python:3.13.9-slim-trixie AS build
ARG TORCH_INDEX=https://pypi.org/simple
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/repick \
    && /opt/repick/bin/pip install --index-url "$TORCH_INDEX" 'torch>=2.6,<2.14'
COPY pyproject.toml README.md LICENSE ./
COPY repick repick
COPY api api
COPY worker worker
COPY demo demo
COPY migrations migrations
RUN /opt/repick/bin/pip install '.[worker]'

FROM python:3.13.9-slim-trixie
ENV PATH=/opt/repick/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A forward pass's temporaries are kept for the next one (docs/performance.md).
ENV MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=268435456
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin repick \
    && install -d -o repick -g repick /data/media
COPY --from=build /opt/repick /opt/repick
WORKDIR /data
USER 10001
CMD ["python", "-m", "worker", "fine"]
