FROM docker.io/library/python:3.11-slim
COPY tests/cluster/drills/server.py /srv/ci/serving/standin.py
RUN touch /srv/ci/__init__.py /srv/ci/serving/__init__.py
WORKDIR /srv
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
