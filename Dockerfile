# One image for every worker; compose.yaml says which one runs.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libvirt-dev libvirt0 openssh-client pkg-config \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /virtscale
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
ENV PYTHONPATH=/virtscale
