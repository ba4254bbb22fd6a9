# The light server of the drills, in the place of the stand-in: no TensorFlow, so it starts in a second. Only Python and
# the libraries that it is linked with, as each drill loads a model's image, with this below it, into two nodes.
FROM docker.io/library/debian:bookworm-slim AS python
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 && mkdir /only \
    && tar --create --dereference /usr/bin/python3 /usr/lib/python3* \
       $(ldd /usr/bin/python3 | grep --only-matching '/[^ ]*') | tar --extract --directory /only \
    && ln -s python3 /only/usr/bin/python
FROM scratch
COPY --from=python /only /
COPY tests/cluster/drills/server.py /srv/ci/serving/standin.py
WORKDIR /srv
ENV PATH=/usr/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
