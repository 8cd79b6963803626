# Two stages: the first has a compiler and makes the wheel, the second has only what runs.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
RUN python -m venv /opt/beast \
    && /opt/beast/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-dev.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src src
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist \
    && /opt/beast/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/beast beast
COPY --from=build /opt/beast /opt/beast
ENV PATH=/opt/beast/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BEAST_HOME=/var/lib/beast \
    BEAST_HOST=0.0.0.0 \
    BEAST_LOG_FORMAT=json \
    SERVER_TYPE=APP_REPORT_SERVER
USER beast
VOLUME /var/lib/beast
EXPOSE 8080/tcp 8081/tcp 2679/udp 9090/tcp 9091/tcp 2680/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; port = 9091 if os.environ['SERVER_TYPE'] == 'REPORT_SERVER' else 8081; r.urlopen(f'http://127.0.0.1:{port}/health/live', timeout=2)"]
ENTRYPOINT ["beast"]
CMD ["serve"]
