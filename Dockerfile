FROM python:3.11-slim

# For a GPU: docker build --build-arg TENSORFLOW="tensorflow[and-cuda]" .
# The version is the one that requirements.txt pins, either way.
ARG TENSORFLOW=tensorflow

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=3 \
    AUTOINIT_DATA=/data

WORKDIR /srv/autoinit
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt "$TENSORFLOW"
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && useradd --create-home --uid 10001 autoinit \
    && install --directory --owner=autoinit --mode=0700 /data

USER autoinit
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "app/streamlit_app.py", "--server.address=0.0.0.0", "--server.port=8501"]
