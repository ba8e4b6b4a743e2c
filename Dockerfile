# syntax=docker/dockerfile:1
# One image for every service (`tidegate gateway`, `tidegate worker`, …) and for `nats-server`.
#
#   docker build -t tidegate .
#   buildah bud -t tidegate .
#
# Behind a company's proxy, HTTP_PROXY and its like are build arguments that leave no trace. Where
# pip needs an index or a certificate of its own, give them as secrets, which leave none either:
#
#   docker build --secret id=pip_conf,src=pip.conf --secret id=ca,src=ca.pem -t tidegate .
#
# with `cert = /run/secrets/ca` in that pip.conf.

# Python 3.11, as the tests have it, on Debian 12. For builds that are the same each time, name an
# image by its digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# What all of it stands on: changes with the lock files, and is by far the largest part. pip and the
# build backend have an environment of their own, which stays behind.
FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_PROGRESS_BAR=off \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_CONFIG_FILE=/run/secrets/pip_conf
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/tidegate
COPY requirements-build.lock requirements-image.lock /build/
# Wheels only, each by its hash: nothing is compiled.
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=ca \
    for prefix in build tidegate; do \
      case $prefix in build) lock=build ;; *) lock=image ;; esac; \
      /opt/build/bin/python -m pip --python /opt/$prefix/bin/python install \
        --require-hashes --only-binary :all: --no-deps \
        --requirement /build/requirements-$lock.lock || exit; \
    done

# The project itself: changes with every commit, and needs no network.
FROM dependencies AS project
COPY pyproject.toml README.md /build/
COPY services /build/services
COPY operator /build/operator
RUN /opt/build/bin/python -m pip wheel --no-deps --no-index --no-build-isolation \
      --wheel-dir /build/dist /build && \
    /opt/build/bin/python -m pip --python /opt/tidegate/bin/python install \
      --no-deps --no-index --target /opt/app /build/dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Tidegate" \
      org.opencontainers.image.description="LLM calls out of the request path: a durable queue, resumable token streams, a semantic cache."
ENV PATH=/opt/app/bin:/opt/tidegate/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
COPY --from=dependencies /opt/tidegate /opt/tidegate
COPY --from=project /opt/app /opt/app
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["tidegate"]
CMD ["--help"]
