# The server as an image. BASE must be Debian 12 or newer (or another glibc system with apt).
ARG BASE=debian:12-slim
FROM ${BASE}

# Python makes the environment that converts base models; trainers bring their own in their image.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 finetune \
 && useradd --uid 1000 --gid 1000 --home-dir /home/finetune --create-home --shell /usr/sbin/nologin finetune

COPY dist/finetune-lab /usr/local/bin/finetune-lab

USER 1000:1000
EXPOSE 3900
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/finetune-lab"]
CMD ["serve"]
