# The base image of both stages. To pin it, append its digest to the tag, as in python:3.13-slim@sha256:….
# CONTRIBUTING.md, "The base image", explains where to find the digest and how to update it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /srv
COPY requirements.txt ./
# The virtual environment has no pip; the base image's pip installs into it. Only locked packages with matching
# hashes are installed, and only wheels, because a source package would fetch build tools that are not locked.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement requirements.txt
COPY app ./app
COPY wsgi.py gunicorn.conf.py ./
# Readable regardless of the checkout's umask, and compiled now because the file system is read-only at run time.
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
# The final image contains no installer. A new volume mounted at /secrets inherits the owner set here.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && install -d -m 0700 -o 10001 -g 10001 /secrets
# Other containers cannot reach a container's loopback interface, so the service listens on all interfaces.
ENV PATH=/venv/bin:$PATH \
    BIND=0.0.0.0:8000 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv
COPY --from=build /venv /venv
COPY --from=build /srv/app ./app
COPY --from=build /srv/wsgi.py /srv/gunicorn.conf.py ./
# Numeric, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 8000
# /livez does not depend on Redis: without Redis the service still answers 503, and a restart would not help.
# -P keeps modules in app/ from shadowing the standard library.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-P", "app/listening.py"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
