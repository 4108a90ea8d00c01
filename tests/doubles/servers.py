"""Two S3 servers that others wrote, run as they are: rclone for genuine signatures and digests, moto for a wide API.

What each lacks is for the contract suite to declare: rclone overwrites in spite of `If-None-Match`, moto accepts a
wrong secret and a wrong digest. This file starts and stops them and refuses to patch them.
"""

import contextlib
import itertools
import logging
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_moto_buckets = itertools.count(1)  # moto keeps its buckets per process, not per server


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where a running S3 server is and how to sign for it. `endpoint` has no trailing slash; addressing is by path."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str


@contextlib.contextmanager
def rclone_s3(directory: Path) -> Iterator[S3Server]:
    """Run `rclone serve s3` over `directory` (made when missing) with one bucket, `archive`, as a folder below it.

    Raises RuntimeError with rclone's own words when it does not start within 20 s.
    """
    server = S3Server("", "archive", "us-east-1", "doubleaccesskey00001", "doublesecretkey0000000000000000000000001")
    (directory / server.bucket).mkdir(parents=True, exist_ok=True)
    binary = Path(sys.executable).parent / ("rclone.exe" if os.name == "nt" else "rclone")
    command = [str(binary), "serve", "s3", "--config", "", "--addr", "127.0.0.1:0", "--vfs-cache-mode", "off"]
    command += ["--auth-key", f"{server.access_key},{server.secret_key}", str(directory)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_pump, args=(process.stderr, lines), daemon=True)
    reader.start()
    try:
        yield S3Server(_announced(lines), server.bucket, server.region, server.access_key, server.secret_key)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stderr.close()


def _pump(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    """Move every line into the queue: a full pipe would stop the server. An empty string marks the end."""
    for line in stream:
        lines.put(line)
    lines.put("")


def _announced(lines: "queue.SimpleQueue[str]") -> str:
    """The endpoint that rclone announces once it listens; it chose the port itself, so no other process can take it."""
    deadline = time.monotonic() + _START_SECONDS
    said = ""
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise RuntimeError(f"rclone announced no server within {_START_SECONDS:.0f} s: {said}") from None
        if not line:
            raise RuntimeError(f"rclone ended instead of serving: {said}")
        said += line
        if found := re.search(r"server on \[(http://127\.0\.0\.1:\d+)/\]", line):
            return found[1]


@contextlib.contextmanager
def moto_s3() -> Iterator[S3Server]:
    """Run moto's S3 in a thread of this process, with an empty bucket of its own."""
    log = logging.getLogger("werkzeug")
    level = log.level
    log.setLevel(logging.ERROR)  # one access line per request would drown a failing test's own output
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        bucket = f"archive-{next(_moto_buckets)}"
        server = S3Server(f"http://{host}:{port}", bucket, "us-east-1", "doubleaccesskey00002", "doublesecretkey0002")
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        with contextlib.closing(client):
            client.create_bucket(Bucket=server.bucket)
        yield server
    finally:
        moto.stop()
        if moto._server is not None:
            moto._server.server_close()  # stop() leaves the listening socket open
        log.setLevel(level)
