# The evaluation's image; `./build.sh evaluation` calls it. TotalSegmentator is inside, its weights come with the ground truth or the model tarball.
#   BASE_IMAGE   Linux with Python 3.11 or newer
#   API_METHOD   exec or invoke (a server on port 4743)
#   OFFLINE      1 takes packages from docker/wheelhouse alone
#   TORCH_INDEX  package index for torch; the platform gives evaluations no GPU unless a phase asks for one, so it is the CPU build's
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
USER root
WORKDIR /build
ARG OFFLINE=0
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
COPY docker/certificates/ certificates/
COPY docker/wheelhouse/ wheelhouse/
COPY docker/requirements/torch-evaluation.txt docker/requirements/evaluation.txt requirements/
COPY constraints.txt docker/install.sh docker/packages.sh ./
RUN sh install.sh evaluation
COPY pyproject.toml README.md LICENSE source/
COPY synthct/ source/synthct/
COPY evaluation/ source/evaluation/
COPY docker/assemble.sh ./
ARG API_METHOD=exec
RUN sh assemble.sh evaluation "${API_METHOD}"

FROM ${BASE_IMAGE}
USER root
RUN useradd --create-home --shell /usr/sbin/nologin user \
    && mkdir -p /input /output /opt/ml/model /opt/ml/input/data/ground_truth \
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
    TOTALSEG_HOME_DIR=/tmp/cache/totalsegmentator \
    nnUNet_raw=/tmp/cache/nnunet \
    nnUNet_preprocessed=/tmp/cache/nnunet \
    nnUNet_results=/tmp/cache/nnunet \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/algorithm /opt/algorithm
USER user
WORKDIR /opt/algorithm
ARG API_METHOD=exec
ARG VERSION=0
ARG REVISION=unknown
LABEL org.grand-challenge.api-method="${API_METHOD}" \
      org.opencontainers.image.title="synthct evaluation" \
      org.opencontainers.image.description="Scores synthetic CTs against their CTs: MAE, PSNR, MS-SSIM, Dice, HD95, NSD." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/opt/algorithm/start"]
