"""A real S3 server (SeaweedFS) on loopback, for tests.

It checks signatures, ranges, If-Match and multipart uploads as the vendor's does.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ACCESS_KEY, SECRET = "AKIATESTALLOWED", "secret-of-the-one-who-may"
LIST_ONLY_KEY, LIST_ONLY_SECRET = "AKIATESTLISTS", "secret-of-the-one-who-lists"
BUCKET = "flatfiles"
SECONDS_TO_START = 60


def weed() -> str | None:
    """The server's program; None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def client(
    endpoint: str, access_key: str = ACCESS_KEY, secret: str = SECRET, **settings: Any
) -> Any:
    """boto3's own client, to put files there and to compare with."""
    session = boto3.session.Session(access_key, secret, region_name="us-east-1")
    return session.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            **settings,
        ),
    )


@dataclass
class S3TestServer:
    """A server of its own, with one bucket; `kill` and `start` keep its data and its port."""

    folder: Path
    ports: list[int] = field(default_factory=lambda: free_ports(8))
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @functools.cached_property
    def client(self) -> Any:
        return client(self.endpoint)

    def start(self) -> None:
        program = weed()
        assert program is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        identities = [
            {
                "name": "all",
                "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List"],
            },
            {
                "name": "lists",
                "credentials": [{"accessKey": LIST_ONLY_KEY, "secretKey": LIST_ONLY_SECRET}],
                "actions": ["List"],
            },
        ]
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self.ports
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    "server",
                    f"-dir={self.folder}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-master.port={master}",
                    f"-master.port.grpc={master_grpc}",
                    f"-volume.port={volume}",
                    f"-volume.port.grpc={volume_grpc}",
                    "-filer",
                    f"-filer.port={filer}",
                    f"-filer.port.grpc={filer_grpc}",
                    "-s3",
                    f"-s3.port={s3}",
                    f"-s3.port.grpc={s3_grpc}",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-s3.config={config}",
                    "-volume.max=8",
                    "-master.telemetry=false",
                    # A killed master waits so long before it leads again.
                    "-master.electionTimeout=1s",
                    "-master.heartbeatInterval=100ms",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "GOMEMLIMIT": "512MiB"},
            )
        self._wait()

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def put(self, key: str, body: bytes, part_bytes: int | None = None) -> str:
        """Upload an object, in parts where their size is given; returns its ETag, unquoted."""
        s3 = self.client
        if part_bytes is None:
            etag: str = s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]
        else:
            upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
            where = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
            parts = [
                {
                    "PartNumber": number,
                    "ETag": s3.upload_part(
                        **where, PartNumber=number, Body=body[start : start + part_bytes]
                    )["ETag"],
                }
                for number, start in enumerate(range(0, len(body), part_bytes), 1)
            ]
            etag = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})["ETag"]
        return etag.strip('"')

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        s3 = client(
            self.endpoint, retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5
        )
        while True:
            try:
                found = [each["Name"] for each in s3.list_buckets()["Buckets"]]
                if BUCKET not in found:
                    s3.create_bucket(Bucket=BUCKET)
                s3.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
                return
            except (BotoCoreError, ClientError):
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill_if_running()
                    raise
                time.sleep(0.1)

    def kill_if_running(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


@functools.cache
def shared() -> S3TestServer:
    """The server of this test run; starting one takes seconds, so there is one."""
    folder = Path(tempfile.mkdtemp(prefix="weed-"))
    server = S3TestServer(folder)

    def clean() -> None:
        server.kill_if_running()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(clean)
    server.start()
    return server
