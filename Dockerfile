# The base image of both stages. To pin it, append its digest to the tag, as in python:3.13-slim@sha256:….
# CONTRIBUTING.md, "The base image", explains where to find the digest and how to update it. Python is 3.13, because a
# request costs as much CPU time on 3.14; the packages have wheels for 3.14 and 3.15 too.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /tmp
COPY requirements.txt ./
# The virtual environment has no pip; the base image's pip installs into it. Only locked packages with matching
# hashes are installed, and only wheels, because a source package would fetch build tools that are not locked.
# Nothing imports the packages' tests, type stubs, C headers and Cython sources.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-cache-dir --no-compile --disable-pip-version-check \
    --require-hashes --only-binary :all: --requirement requirements.txt \
 && find /venv -depth \( -path '*/site-packages/*/tests' -o -path '*/gevent/testing' -o -path /venv/include \
    -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.[ch]' -o -name '*.[ch]pp' \) -exec rm -r {} +
WORKDIR /service/srv
COPY app ./app
COPY wsgi.py gunicorn.conf.py ./
# Readable regardless of the checkout's umask, and compiled now because the file system is read-only at run time.
# The same files give the same layers: compiled files contain a hash instead of a time, and no time is that of the build.
RUN chmod -R a+rX,go-w . \
 && cp app/early.pth "$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && python -m compileall -q --invalidation-mode unchecked-hash /venv/lib app \
 && mkdir /packages && mv /venv /packages \
 && find /packages /service -exec touch --no-dereference --date=@0 {} +

FROM ${PYTHON_IMAGE}
# A release with the same packages shares their layer.
COPY --from=build /packages /
COPY --from=build /service /
# The final image has no pip. A new volume mounted at /secrets inherits the owners set here; group 0 is that of a user
# that is given as another number alone.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && install -d -m 0770 -o 10001 -g 0 /secrets
# Other containers cannot reach a container's loopback interface, so the service listens on all interfaces.
ENV PATH=/venv/bin:$PATH \
    BIND=0.0.0.0:8000 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv
# Numeric, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 8000
# /livez does not depend on Redis: without Redis the service still answers 503, and a restart would not help.
# -P keeps modules in app/ from shadowing the standard library.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-P", "app/listening.py"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="acl-auth-service" \
      org.opencontainers.image.description="API-token authentication for anything behind Traefik" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE:+${SOURCE}#readme}"
