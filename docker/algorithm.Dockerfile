# Every algorithm's image; `./build.sh NAME` calls it. A folder that joins algorithms/ needs no change here.
#   ALGORITHMS   names joined by commas; several make one routed image
#   BASE_IMAGE   Linux with Python 3.11 or newer; with torch in it, that one is used
#   API_METHOD   exec (one process per case) or invoke (a server on port 4743)
#   OFFLINE      1 takes packages from docker/wheelhouse alone
#   TORCH_INDEX  package index for torch where the base has none
ARG BASE_IMAGE=pytorch/pytorch:2.13.0-cuda12.6-cudnn9-runtime

FROM ${BASE_IMAGE} AS build
USER root
WORKDIR /build
ARG OFFLINE=0
ARG TORCH_INDEX=""
COPY docker/certificates/ certificates/
COPY docker/wheelhouse/ wheelhouse/
COPY docker/requirements/torch-algorithm.txt docker/requirements/algorithm.txt requirements/
COPY constraints.txt docker/install.sh docker/packages.sh ./
RUN sh install.sh algorithm
COPY pyproject.toml README.md LICENSE source/
COPY synthct/ source/synthct/
COPY algorithms/ source/algorithms/
COPY docker/assemble.sh ./
ARG ALGORITHMS
ARG API_METHOD=exec
RUN sh assemble.sh algorithm "${API_METHOD}" "${ALGORITHMS}"

FROM ${BASE_IMAGE}
USER root
RUN useradd --create-home --shell /usr/sbin/nologin user \
    && mkdir -p /input /output /opt/ml/model \
    && chown user /output /opt/ml/model
# A read-only root and any user id: whatever a library wants to keep goes below /tmp.
ENV PATH=/opt/venv/bin:/opt/algorithm:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOGNAME=user \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/cache/matplotlib \
    TORCH_HOME=/tmp/cache/torch \
    TRITON_CACHE_DIR=/tmp/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/tmp/cache/inductor \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/algorithm /opt/algorithm
USER user
WORKDIR /opt/algorithm
ARG ALGORITHMS
ARG API_METHOD=exec
ARG VERSION=0
ARG REVISION=unknown
LABEL org.grand-challenge.api-method="${API_METHOD}" \
      org.opencontainers.image.title="synthct ${ALGORITHMS}" \
      org.opencontainers.image.description="Synthetic CT from MR or cone-beam CT. Not a medical device." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/opt/algorithm/start"]
