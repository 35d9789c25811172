# Nginx → Gunicorn → Flask under supervisord, as one image. Builds a project with a requirements.txt, a
# pyproject.toml, or both; the arguments and APP_MODULE are all that has to be said about it.

ARG BASE_IMAGE=public.ecr.aws/docker/library/debian:trixie-slim

FROM $BASE_IMAGE AS base
# Debian packages that the application needs to run, such as "libpq5"
ARG APT_PACKAGES=""
# Security updates that are newer than the base image are installed as well, so no version is pinned. Debian's slim image
# has no certificate authorities: without them Python trusts no server's certificate.
# Nginx's package needs iproute2 only to look for a free port while it is installed: an empty package stands in for it
# and for the ten that come with it (8 MB), and later for debconf, which asks questions of whoever installs packages.
# hadolint ignore=DL3008
RUN mkdir -p /tmp/stand-in/DEBIAN \
 && printf '%s\n' 'Package: stand-in' 'Version: 1' 'Architecture: all' 'Provides: iproute2, debconf-2.0' \
      'Maintainer: nobody <nobody@localhost>' 'Description: stands for packages that are needed only while others are installed' \
      >/tmp/stand-in/DEBIAN/control \
 && dpkg-deb --build /tmp/stand-in /tmp/stand-in.deb \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y --no-install-recommends \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      /tmp/stand-in.deb ca-certificates nginx python3 libcap2-bin $APT_PACKAGES \
 && rm -rf /tmp/stand-in* /var/lib/apt/lists/*
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
# a layer that stays while the requirements do; those that name files of the project ("-e .", "wheels/x.whl") come later
COPY requirements*.txt constraints*.txt pyproject.tom[l] ./
COPY requirement[s] requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -e requirements.txt ] && ! grep -qP '^(-[ef]|--editable|--find-links|\.|[^-# :]*/)|@ *file:|'\
'^(-[rc]|--requirement|--constraint)[ =]*+(?!requirements/|(requirements|constraints)[^/]*\.txt)' requirements.txt; then \
      $PIP -r requirements.txt && touch /tmp/requirements; fi
# a pyproject.toml that does not say how to build a package, or says (Poetry, uv) that there is none, is an application's:
# its dependencies are installed, the project itself is not
RUN --mount=type=cache,target=/root/.cache/pip \
    if grep -qsE '^package(-mode)? *= *false' pyproject.toml; then touch /tmp/no-package; fi \
 && if grep -qs '^\[project\]' pyproject.toml && { [ -e /tmp/no-package ] \
      || ! grep -qE '^\[(build-system|tool\.setuptools)' pyproject.toml; }; then \
      python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"].get("dependencies", []), sep="\n")' \
        >/tmp/dependencies.txt && $PIP -r /tmp/dependencies.txt; fi
COPY . .
# setuptools would take the container's own folders for packages of the project: they are elsewhere meanwhile
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir /tmp/container && mv nginx entrypoint /tmp/container \
 && if [ -e requirements.txt ] && [ ! -e /tmp/requirements ]; then $PIP -r requirements.txt; fi \
 && if grep -qsE '^(-e|--editable)?[ =]*\./?(\[|[[:space:]]*$)' requirements.txt; then echo "the project is there already"; \
    elif [ -e setup.py ] || { grep -qsE '^\[(project|build-system)\]' pyproject.toml \
      && [ ! -e /tmp/no-package ] && { [ -d src ] || [ ! -e /tmp/dependencies.txt ]; }; }; then $PIP .; fi \
 && mv /tmp/container/* .
# an older one would fail at run time only, with a message about something else
RUN /opt/venv/bin/python -I -c 'import gunicorn, sys; sys.exit(gunicorn.version_info < (21, 2) and f"Gunicorn \
{gunicorn.__version__} is too old, 21.2 or newer is needed: raise or remove its version in requirements.txt or pyproject.toml")'
# whatever the umask of the checkout was, the container's user can read the files; one that this Python cannot compile
# may never be imported
RUN chmod -R a+rX /app && cp -r entrypoint /opt/venv/lib/python3*/site-packages/ \
 && { python3 -m compileall -q -j 0 /opt/venv /app || true; }

FROM base AS runtime
# A running container installs nothing, and nobody logs in: the programs for that go, among them all that are setuid, and
# what only they need. What APT_PACKAGES names, and what another package depends on, stays.
# hadolint ignore=DL4006
RUN purge() { printf '%s\n' "$@" | grep -vxF "$(printf '%s\n' $APT_PACKAGES)" \
      | xargs dpkg --purge --force-remove-essential --force-remove-protected || true; } \
 && purge login login.defs passwd libsemanage2 libsemanage-common libsepol2 libbsd0 \
      util-linux mount libmount1 libblkid1 libsmartcols1 liblastlog2-2 \
      libpam-runtime libpam-modules libpam-modules-bin libpam0g libaudit1 libaudit-common libcap-ng0 \
 && purge apt libapt-pkg7.0 sqv libnettle8t64 libhogweed6t64 libseccomp2 libudev1 debian-archive-keyring \
      diffutils perl-base debconf \
 && rm -rf /etc/apt /var/lib/apt /var/cache/* /var/lib/dpkg/*-old /var/lib/dpkg/info/*.symbols /usr/share/info \
      /usr/lib/python3*/test /usr/lib/python3*/lib-dynload/_test* /usr/lib/python3*/pydoc_data \
 && find /var/log -type f -delete \
 && echo 'app:x:10001:0::/app:/usr/sbin/nologin' >>/etc/passwd

# a new root, since the layers of the base image would keep what is gone
FROM scratch
# hadolint ignore=DL3067
COPY --from=runtime / /
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# directories that the application may write, such as "/app/instance"
ARG WRITABLE_DIRECTORIES=""
RUN for directory in $WRITABLE_DIRECTORIES; do mkdir -p "$directory" && chown -R 10001:0 "$directory" && chmod -R g+rwX "$directory"; done
# any user may run the image; this one is in no other's way, and has a name for libraries that ask for one
USER 10001:0
ARG APP_MODULE=app.wsgi:app
ENV APP_MODULE=$APP_MODULE PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG VERSION="" REVISION="" SOURCE=""
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE
EXPOSE 80
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-I", "-m", "entrypoint.healthcheck"]
# a signal to stop that comes before Python can handle it waits; for process 1 the kernel would drop it
ENTRYPOINT ["env", "--block-signal=TERM,INT,QUIT", "python", "-I", "-m", "entrypoint"]
