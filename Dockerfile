# The base, for all that is built and run here. To pin it, put its digest behind the tag, as in
# python:3.13-slim@sha256:…; where to get that, and how to raise it: CONTRIBUTING.md, "The base image".
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /srv
COPY requirements.txt ./
# The virtual environment gets no pip of its own: the base's installs into it from outside. Only what the lock
# names, byte for byte; and only wheels, for a source package would fetch build tools that no lock names.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement requirements.txt
COPY app ./app
COPY wsgi.py gunicorn.conf.py ./
# Readable whatever the umask of the checkout was, and compiled because nobody can write here later.
RUN chmod -R a+rX,go-w . \
 && cp app/early.pth "$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && python -m compileall -q --invalidation-mode unchecked-hash app wsgi.py

FROM ${PYTHON_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="acl-auth-service" \
      org.opencontainers.image.description="API-token authentication for anything behind Traefik" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No installer in what runs; and /secrets with its owner, which a new volume mounted there inherits.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && install -d -m 0700 -o 10001 -g 10001 /secrets
# A container's own loopback is of no use to others: there the service listens everywhere.
ENV PATH=/venv/bin:$PATH \
    BIND=0.0.0.0:8000 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv
COPY --from=build /venv /venv
COPY --from=build /srv/app ./app
COPY --from=build /srv/wsgi.py /srv/gunicorn.conf.py ./
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
# /livez never asks Redis: a container that can't reach it answers 503, and a restart would not help.
# With -P, modules beside that file hide none of Python's.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-P", "app/listening.py"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
