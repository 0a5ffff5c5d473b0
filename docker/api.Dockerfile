# API, sweep, migrations and Flower: everything but the models, so without torch.
FROM python:3.13.9-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/repick
COPY pyproject.toml README.md LICENSE ./
COPY repick repick
COPY api api
COPY worker worker
COPY demo demo
COPY migrations migrations
RUN /opt/repick/bin/pip install '.[api,flower]'

FROM python:3.13.9-slim-trixie
ENV PATH=/opt/repick/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin repick \
    && install -d -o repick -g repick /data/media
COPY --from=build /opt/repick /opt/repick
WORKDIR /data
USER 10001
EXPOSE 8077
CMD ["python", "-m", "api"]
