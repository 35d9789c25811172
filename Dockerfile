# Nginx → Gunicorn → Flask under supervisord, as one image. Builds a project with a requirements.txt, a
# pyproject.toml, or both; the arguments and APP_MODULE are all that has to be said about it.

ARG BASE_IMAGE=public.ecr.aws/docker/library/debian:trixie-slim

FROM $BASE_IMAGE AS base
# Debian packages that the application needs to run, such as "libpq5"
ARG APT_PACKAGES=""
# Security updates that are newer than the base image come along, and so no version is pinned.
# Nginx's package wants iproute2 only to look for a free port while it is installed: an empty package stands for it
# and for the ten that come with it (8 MB). Python's own tests and help texts are another 2 MB.
# hadolint ignore=DL3008
RUN mkdir -p /tmp/no-iproute2/DEBIAN \
 && printf '%s\n' 'Package: no-iproute2' 'Version: 1' 'Architecture: all' 'Provides: iproute2' \
      'Maintainer: nobody <nobody@localhost>' 'Description: stands for iproute2, which nginx needs only while it is installed' \
      >/tmp/no-iproute2/DEBIAN/control \
 && dpkg-deb --build /tmp/no-iproute2 /tmp/no-iproute2.deb \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y --no-install-recommends \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      /tmp/no-iproute2.deb nginx python3 libcap2-bin $APT_PACKAGES \
 && rm -rf /usr/lib/python3*/test /usr/lib/python3*/pydoc_data /tmp/no-iproute2* \
      /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old \
 && find /var/log -type f -delete
# The same Nginx with the right to bind port 80 where users have none (AWS Fargate). A copy, because the kernel
# refuses to run a file with a capability that the container was denied, and elsewhere none is needed.
RUN cp /usr/sbin/nginx /usr/local/sbin/nginx-privileged \
 && setcap cap_net_bind_service=+ep /usr/local/sbin/nginx-privileged

FROM base AS build
# Debian packages that the application's dependencies need to build, such as "libpq-dev"
ARG APT_BUILD_PACKAGES=""
# hadolint ignore=DL3008
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      python3-dev python3-pip python3-venv gcc libc6-dev $APT_BUILD_PACKAGES \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --without-pip /opt/venv
ARG PIP="python3 -m pip --python /opt/venv/bin/python --disable-pip-version-check install"
# what the container needs; the application's own requirements may ask for another Gunicorn
RUN --mount=type=cache,target=/root/.cache/pip $PIP gunicorn==27.0.1 supervisor==4.3.0 \
 && rm -r /opt/venv/lib/python3*/site-packages/supervisor/tests
WORKDIR /app
# a layer that stays while the requirements do; those that name the project itself ("-e .") have to wait for it
COPY requirements*.txt pyproject.tom[l] ./
COPY requirement[s] requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -e requirements.txt ] && ! grep -qE '^(-e +)?\.' requirements.txt; then $PIP -r requirements.txt; fi
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    if grep -qsE '^(-e +)?\.' requirements.txt; then $PIP -r requirements.txt; fi \
 && if [ -e setup.py ] || grep -qsE '^\[(project|build-system)\]' pyproject.toml; then $PIP .; fi
# whatever the umask of the checkout was, the container's user reads the files
RUN chmod -R a+rX /app && cp -r entrypoint /opt/venv/lib/python3*/site-packages/ && python3 -m compileall -q -j 0 /opt/venv /app

FROM base
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# directories that the application may write, such as "/app/instance"
ARG WRITABLE_DIRECTORIES=""
RUN for directory in $WRITABLE_DIRECTORIES; do mkdir -p "$directory" && chown -R 10001:0 "$directory" && chmod -R g+rwX "$directory"; done
# any user may run the image; this one is in no other's way
USER 10001:0
WORKDIR /app
ARG APP_MODULE=app.wsgi:app
ENV APP_MODULE=$APP_MODULE PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG VERSION="" REVISION="" SOURCE=""
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE
EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-I", "-m", "entrypoint.healthcheck"]
ENTRYPOINT ["python", "-I", "-m", "entrypoint"]
