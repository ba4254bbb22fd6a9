# nginx with its njs module where the official image cannot be pulled; the same name, so that manifests need no change.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light libnginx-mod-http-js \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000
# As the official image: requests that are under way are answered.
STOPSIGNAL SIGQUIT
