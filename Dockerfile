# mixtransfer with detection, exports, search and the page, on the CPU or on an NVIDIA GPU:
#
#   docker build -t mixtransfer .
#   docker run --rm -v "$PWD:/work" mixtransfer classify train flowers --backbone mixnet_s
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" mixtransfer classify train flowers
#
# The torch of the package registry has the CUDA libraries with it. For a smaller image without them:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t mixtransfer:cpu .
FROM python:3.11-slim

ARG TORCH_INDEX=""
ENV OMP_WAIT_POLICY=PASSIVE PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

RUN apt-get update \
 && apt-get install -y --no-install-recommends git g++ \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mixtransfer
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY configs configs
COPY mixtransfer mixtransfer

RUN if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" torch torchvision; fi \
 && pip install -c constraints.txt '.[lite0,detection,export,app,doctor,search,hub]' \
 && mixtransfer install-detectron2

WORKDIR /work
ENTRYPOINT ["mixtransfer"]
CMD ["--help"]
