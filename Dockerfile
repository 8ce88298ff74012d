# The image that docs/rayjob.yaml names: this project at /opt/gatewise with all that a GPU node needs.
#   docker build -t gatewise:0.13.4 .
# The devel image, because vLLM, Triton and DeepSpeed compile kernels when they first need them.
# CUDA 13.0 is what the locked torch is built for; the nodes need an NVIDIA driver of version 580 or newer.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04

LABEL org.opencontainers.image.title="gatewise" \
      org.opencontainers.image.version="0.13.4" \
      org.opencontainers.image.licenses="Apache-2.0"

# bash and wget: KubeRay's health checks. A user of its own: Ray, vLLM and the reward sandbox need no root.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bash build-essential ca-certificates python3-venv wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home gatewise

# Python 3.11 is uv's own build: the distribution has another one.
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir uv==0.13.9 \
    && /opt/uv/bin/uv venv --python 3.11 /opt/venv

COPY . /opt/gatewise
# The lock has every package of its closure, so nothing is resolved here.
RUN /opt/uv/bin/uv pip install --no-cache --python /opt/venv --no-deps -r /opt/gatewise/requirements/gpu.txt \
    && /opt/uv/bin/uv pip install --no-cache --python /opt/venv --no-deps /opt/gatewise

# docs/rayjob.yaml gives the shared volume to this group.
USER 10001:10001
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /home/gatewise
CMD ["gatewise", "--help"]
