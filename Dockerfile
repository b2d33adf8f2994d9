# The service (docs/service.md) on a CPU: docker build -t dacodec .
FROM python:3.12-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
# PyTorch's default build includes gigabytes of CUDA. pytorch.org gives the URL of its CPU build:
# --build-arg TORCH="torch==2.13.0 --index-url URL"
ARG TORCH=torch==2.13.0
# hadolint ignore=SC2086
RUN python -m venv /opt/dacodec \
 && /opt/dacodec/bin/pip install --no-cache-dir $TORCH
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY native native
COPY src src
RUN /opt/dacodec/bin/pip install --no-cache-dir ".[serve]"

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home dacodec
COPY --from=build /opt/dacodec /opt/dacodec
ENV PATH=/opt/dacodec/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 HOME=/tmp
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
# It is reachable from outside, so it requires DACODEC_API_KEY.
ENTRYPOINT ["dacodec", "serve", "--host", "0.0.0.0"]
