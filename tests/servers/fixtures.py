"""Real web servers and object stores on loopback, for every test that asks.

A server starts when a test first asks for it and ends with the run. Where its program or client is
not installed the test is skipped, with what to install; names in ``P2U_REQUIRE_SERVERS``
(``nginx,moto``) fail instead. All tests share a server's bucket, so each uses names of its own.
"""

import dataclasses
import importlib.util
import json
import os
import shutil
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers.processes import NotReadyError, start

SERVERS = ("nginx", "moto", "azurite", "gcs", "rclone")
# Takes half a minute and much memory to start: only for a run that requires it.
ON_DEMAND = ("radosgw",)
REPOSITORY = Path(__file__).resolve().parents[2]
BUCKET = "probe"
KEY, SECRET = "p2u-test-key", "p2u-test-secret"
EXTRA = "pip install 'p2uformat[servers]'"
# Azurite has one account with a key that everybody knows.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """A running server: where it is for fsspec, and a way to put objects there without fsspec."""

    name: str
    url: str
    options: dict[str, Any]
    put: Callable[[str, bytes], None]

    def below(self, folder: str) -> "Served":
        """Return the same server behind a longer prefix, such as nginx's ``noranges/``."""
        return dataclasses.replace(self, url=f"{self.url}{folder}")


class Servers:
    """The servers of one test run: those that ran, those that could not, and why."""

    def __init__(self, required):
        self.required = required
        self.ran = []
        self.skipped = {}
        self._programs = []

    def need(self, name, have, install):
        """Skip the test unless `have` is true of the server `name`, or fail if it is required."""
        if have:
            return
        if name in self.required:
            pytest.fail(f"{name} is required but not installed: {install}", pytrace=False)
        self.skipped[name] = install
        pytest.skip(f"{name} is not installed: {install}")

    def start(self, name, command, ask, folder, **environment):
        """Start a server and return its port."""
        try:
            program, port = start(command, ask, folder / "output.txt", **environment)
        except NotReadyError as error:
            pytest.fail(f"{name} did not come up: {error}", pytrace=False)
        self._programs.append(program)
        self.ran.append(name)
        return port

    def end(self):
        while self._programs:
            self._programs.pop().end()


KEPT = pytest.StashKey[Servers]()


def pytest_configure(config):
    required = set(filter(None, os.environ.get("P2U_REQUIRE_SERVERS", "").split(",")))
    if unknown := required - {*SERVERS, *ON_DEMAND}:
        known = ", ".join([*SERVERS, *ON_DEMAND])
        raise pytest.UsageError(f"P2U_REQUIRE_SERVERS: {sorted(unknown)} not among {known}")
    config.stash[KEPT] = Servers(required)
    # gcsfs reads this when it is imported, and else asks for what the emulator does not have.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def pytest_unconfigure(config):
    # The fixture ends them; this is for a run that is interrupted between fixtures.
    if KEPT in config.stash:
        config.stash[KEPT].end()


def pytest_terminal_summary(terminalreporter, config):
    servers = config.stash[KEPT]
    if servers.ran or servers.skipped:
        said = [f"ran {', '.join(servers.ran) or 'none'}"]
        said += [f"skipped {name} ({install})" for name, install in servers.skipped.items()]
        terminalreporter.write_line(f"real servers: {'; '.join(said)}")


@pytest.fixture(scope="session")
def servers(pytestconfig):
    kept = pytestconfig.stash[KEPT]
    yield kept
    kept.end()


def has(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


def answer(url, *, data=None, **headers):
    """Ask by HTTP, whatever proxy the environment names; return status, headers, body."""
    request = urllib.request.Request(url, data=data, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as got:
        return got.status, got.headers, got.read()


# ---------------------------------------------------------------- web server

NGINX = """
{user}
daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log {here}/access.log;
  default_type application/octet-stream;
  client_body_temp_path {here}/client; proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  gzip_types *; gzip_min_length 0; gzip_http_version 1.0; gzip_proxied any;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {here}/files; }}
    location /noranges/ {{ alias {here}/files/; max_ranges 0; }}
    location /gzip/ {{ alias {here}/files/; gzip on; }}
    location /private/ {{ return 403; }}
  }}
}}
"""


@pytest.fixture(scope="session")
def nginx(servers, tmp_path_factory):
    """A web server; the same files again below ``noranges/``, ``gzip/`` and ``private/``.

    Ranges are honoured with 206 and Content-Range, also open and suffix ones; past the end 416;
    several at once come as multipart. ETags are strong, and If-Match and If-Range hold. Below
    ``noranges/`` every range gets 200 and the whole body, without Accept-Ranges. Below ``gzip/``
    that is so for clients that accept gzip, with a weak ETag and no Content-Length; all others get
    ranges. Below ``private/`` everything is 403.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    servers.need("nginx", program, "apt-get install nginx-light")
    servers.need("nginx", has("aiohttp"), "pip install 'p2uformat[http]'")
    here = tmp_path_factory.mktemp("nginx")
    files = here / "files"
    files.mkdir()
    (files / "ready").write_bytes(b"ready")

    def command(port):
        # Workers of a root master would be another user, who may not enter the test run's folder.
        user = "user root;" if os.geteuid() == 0 else ""
        (here / "nginx.conf").write_text(NGINX.format(here=here, port=port, user=user))
        return [program, "-e", "stderr", "-p", str(here), "-c", str(here / "nginx.conf")]

    def put(name, data):
        path = files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    port = servers.start("nginx", command, lambda p: answer(f"http://127.0.0.1:{p}/ready"), here)
    return Served("nginx", f"http://127.0.0.1:{port}/", {}, put)


# ---------------------------------------------------------------- S3


def s3_client(port):
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
        ),
    )


def make_bucket(port):
    s3_client(port).create_bucket(Bucket=BUCKET)


def s3_served(name, port):
    client = s3_client(port)
    where = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    options = {"key": KEY, "secret": SECRET, "client_kwargs": where}

    def put(key, data):
        client.put_object(Bucket=BUCKET, Key=key, Body=data)

    return Served(name, f"s3://{BUCKET}/", options, put)


@pytest.fixture(scope="session")
def moto(servers, tmp_path_factory):
    """S3 as moto has it, in memory.

    Ranges are honoured with 206 and Content-Range, past the end 416, several at once 200 and the
    whole. The ETag is the MD5; If-Match holds, If-Range is ignored. If-None-Match on PUT holds:
    objects can be created once.
    """
    servers.need("moto", has("moto", "flask", "flask_cors", "boto3", "s3fs"), EXTRA)

    def command(port):
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    here = tmp_path_factory.mktemp("moto")
    return s3_served("moto", servers.start("moto", command, make_bucket, here))


@pytest.fixture(scope="session")
def rclone(servers, tmp_path_factory):
    """S3 of rclone over a folder: bytes are right, manners are not (seen with 1.75).

    Ranges are honoured, also open and suffix ones, with the right Content-Range and Content-Length
    but status **200**; past the end 416, several at once 501. The ETag is the MD5, but If-Match
    and If-Range are ignored, and so is If-None-Match on PUT: what is to be created once is
    overwritten.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which("rclone", path=f"{beside}:{os.environ.get('PATH', '')}")
    servers.need("rclone", program and has("boto3", "s3fs"), EXTRA)
    here = tmp_path_factory.mktemp("rclone")
    (here / "files").mkdir()

    def command(port):
        where = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
        return [program, "serve", "s3", *where, "--config", os.devnull, str(here / "files")]

    return s3_served("rclone", servers.start("rclone", command, make_bucket, here))


@pytest.fixture(scope="session")
def radosgw(servers, tmp_path_factory):
    """S3 of a Ceph cluster of its own (seen with 16.2): ranges and If-None-Match on PUT hold."""
    if "radosgw" not in servers.required:
        pytest.skip("only in `make test-radosgw`")
    programs = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "radosgw", "radosgw-admin")
    packages = "apt-get install radosgw ceph-mon ceph-mgr ceph-osd"
    servers.need("radosgw", all(map(shutil.which, programs)) and has("boto3", "s3fs"), packages)
    here = tmp_path_factory.mktemp("ceph")

    def command(port):
        folder = here / str(port)
        folder.mkdir()
        module = [sys.executable, "-m", "tests.servers.ceph"]
        return [*module, str(folder), str(port), KEY, SECRET]

    return s3_served("radosgw", servers.start("radosgw", command, make_bucket, here))


# ---------------------------------------------------------------- Azure


@pytest.fixture(scope="session")
def azurite(servers, tmp_path_factory):
    """Azure's blobs as Azurite has them, in memory.

    Ranges are honoured with 206 and Content-Range, but past the end too: 206 and no bytes, ``bytes
    300000-299999/...``. A suffix range gives 206, the whole body and ``bytes NaN-100/...``;
    several at once 200 and the whole. ETags are strong and not of the content; If-Match holds,
    If-Range is ignored. Blobs can be created once.
    """
    local = REPOSITORY / "build" / "node" / "node_modules" / ".bin"
    program = shutil.which("azurite-blob", path=f"{local}:{os.environ.get('PATH', '')}")
    servers.need("azurite", program, "npm install --prefix build/node azurite")
    servers.need("azurite", has("adlfs", "azure.storage.blob"), EXTRA)
    from azure.storage.blob import BlobServiceClient

    def connection(port):
        account = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY}"
        return f"{account};BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"

    def service(port):
        return BlobServiceClient.from_connection_string(connection(port), retry_total=0)

    def make_container(port):
        with service(port) as client:
            client.create_container(BUCKET)

    def command(port):
        quiet = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        return [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *quiet]

    def put(name, data):
        with service(port) as client:
            client.get_blob_client(BUCKET, name).upload_blob(data, overwrite=True)

    here = tmp_path_factory.mktemp("azurite")
    port = servers.start("azurite", command, make_container, here)
    return Served("azurite", f"az://{BUCKET}/", {"connection_string": connection(port)}, put)


# ---------------------------------------------------------------- Google


@pytest.fixture(scope="session")
def gcs(servers, tmp_path_factory):
    """Google's storage as an emulator has it, in memory.

    Ranges are honoured with 206 and Content-Range, but past the end too: 206 and no bytes; suffix
    ranges and several at once give 200 and the whole. There is no ETag, and If-Match and
    ifGenerationMatch are ignored: what is to be created once is overwritten.
    """
    servers.need("gcs", has("gcp_storage_emulator", "gcsfs"), EXTRA)

    def command(port):
        where = ["start", "--host=127.0.0.1", f"--port={port}"]
        kept = ["--in-memory", f"--default-bucket={BUCKET}"]
        return [sys.executable, "-m", "gcp_storage_emulator", *where, *kept]

    def ask(port):
        body = answer(f"http://127.0.0.1:{port}/storage/v1/b/{BUCKET}")[2]
        assert json.loads(body)["name"] == BUCKET, body

    def put(name, data):
        place = urllib.parse.urlencode({"uploadType": "media", "name": name})
        address = f"{where}/upload/storage/v1/b/{BUCKET}/o?{place}"
        answer(address, data=data, **{"Content-Type": "application/octet-stream"})

    here = tmp_path_factory.mktemp("gcs")
    where = f"http://127.0.0.1:{servers.start('gcs', command, ask, here)}"
    return Served("gcs", f"gs://{BUCKET}/", {"endpoint_url": where, "token": "anon"}, put)


@pytest.fixture(scope="session", params=SERVERS)
def any_served(request):
    """Each of the servers in turn."""
    return request.getfixturevalue(request.param)
