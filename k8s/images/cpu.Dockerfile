# syntax=docker/dockerfile:1
# Models on CPUs, flows, HTTP, the Ray head, Jobs. No torch.
#
# From the root of the repository, with the digest that the registry names for the base (docs/operations.md):
#   docker build -f k8s/images/cpu.Dockerfile --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:... .
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv "$VIRTUAL_ENV"
COPY requirements/serve.lock requirements/serve.lock
RUN python -m pip install --quiet --no-deps --require-hashes -r requirements/serve.lock
COPY pyproject.toml README.md ./
COPY modiste modiste
COPY weights weights
COPY compile compile
COPY deployments deployments
COPY graphs graphs
COPY api api
COPY k8s k8s
COPY samples samples
RUN python -m pip install --quiet --no-deps --no-build-isolation --editable . \
    && python -m compileall -q /app

FROM ${PYTHON_IMAGE}
# The user's number is what volumes belong to and what Kubernetes checks; it needs no name and no home.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# All that is written goes to volumes: weights and engines, jobs and files, and Ray's own below /tmp.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MODISTE_CACHE=/cache \
    MODISTE_STATE=/state \
    MODISTE_HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
EXPOSE 8000
# Of the container alone; on Kubernetes the pods' probes count.
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "api", "serve"]
