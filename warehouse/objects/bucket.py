"""A prefix of a bucket: objects are got, made once, replaced on a condition, and listed."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from warehouse.core.paths import Tier
from warehouse.core.permissions import Modes
from warehouse.errors import (
    CredentialsError,
    MissingFileError,
    NotInPlanError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectStorageError,
    SourceError,
)
from warehouse.source.retry import Retry, TransientError
from warehouse.source.s3client import Body, Keys, Listed, ReplacedError, S3Server, bare, within
from warehouse.text import some

T = TypeVar("T")

PROBES = "probe/"
"""What the keys of objects begin with by which it is tried whether conditions are honoured."""
KEYS = Keys("storage.cache_dir", "storage.cache_endpoint")

_CONNECTIONS = 16
_TIMEOUT = 30.0
_ATTEMPTS, _FIRST_PAUSE = 5, 0.2
# An answer must come at so many bytes a second, on the whole.
_LEAST_RATE = 50_000
_LONGEST_OBJECT = 256 << 20
"""Of an object that is held whole; manifests and generations are far smaller."""
_PART = 64 << 20
"""What is larger is uploaded in parts of so many bytes. S3 has at most 10,000 parts an object."""
_BLOCK = 1 << 20
_MOST_KEYS, _MOST_DELETED = 5_000_000, 1_000


class Bucket:
    """The objects whose keys begin with the folder of `url`. Safe to use from many threads.

    Keys are given and told without that folder. What fails for a moment is asked for again; where
    a write was answered by silence, what stands there tells whether it was done.

    Args:
        url: s3://BUCKET or s3://BUCKET/FOLDER.
        endpoint: URL of the server; empty: AWS.
        timeout: seconds of silence after which a connection is given up.
        attempts: how often a request that fails is repeated.
        first_pause: seconds before the first repetition; doubled before each further one.

    Attributes:
        requests: how many were sent, by operation: get, head, put, list, delete.

    Raises:
        ObjectStorageError: the url or the endpoint is none. Every method raises it where the
            server cannot be spoken to, or refuses.
    """

    def __init__(
        self,
        url: str,
        endpoint: str = "",
        *,
        timeout: float = _TIMEOUT,
        attempts: int = _ATTEMPTS,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._attempts = attempts
        self._retry = Retry(attempts, first_pause, lambda: None)
        self._never = threading.Event()
        self.url = url
        with self._told(""):
            self._server = S3Server(url, endpoint, _CONNECTIONS, timeout, {}, KEYS)
        self.url = self._server.url

    def get(self, key: str, most: int = _LONGEST_OBJECT) -> tuple[bytes, str]:
        """An object whole, and its ETag.

        Args:
            most: bytes; a larger one is refused.

        Raises:
            ObjectMissingError: it is not there.
        """

        content, etag, _ = self.get_aged(key, most)
        return content, etag

    def get_aged(self, key: str, most: int = _LONGEST_OBJECT) -> tuple[bytes, str, float]:
        """The same, and how many seconds ago it was written, by the server's clock alone."""

        def once() -> tuple[bytes, str, float]:
            with self._opened("get", key) as (body, size, answer):
                if size > most:
                    raise ObjectStorageError(
                        self.url, f"{key} has {size:,} bytes, where at most {most:,} make sense"
                    )
                return self._read(body, size), bare(answer["ETag"]), _age(answer)

        return self._asked(key, once)

    def get_range(self, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        """The bytes [start, end) of an object: all of them.

        Args:
            etag: of the version that they must be of; None: of whatever stands there.

        Raises:
            ObjectMissingError: it is not there.
            ObjectChangedError: it is another version, or is shorter.
        """
        if start >= end:
            return b""

        def once() -> bytes:
            with self._opened("get", key, start, end, etag) as (body, size, _):
                return self._read(body, size)

        return self._asked(key, once)

    def head(self, key: str) -> Listed | None:
        """Size and ETag of an object; None: it is not there."""

        def once() -> Listed:
            self._count("head")
            return self._server.head(key)

        try:
            return self._asked(key, once)
        except ObjectMissingError:
            return None

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """The objects whose keys begin with `prefix`, by key."""
        token, tokens, count = None, set[str](), 0
        while True:

            def once(token: str | None = token) -> tuple[list[Listed], str | None]:
                self._count("list")
                return self._server.page(prefix, token)

            found, token = self._asked(prefix, once)
            yield from found
            count += len(found)
            if token is None:
                return
            if token in tokens or count > _MOST_KEYS or not found:
                raise ObjectStorageError(
                    self.url,
                    f"the list of {prefix or 'the bucket'} does not end ({count:,} keys so far);"
                    f" check {KEYS.endpoint}",
                )
            tokens.add(token)

    def create(self, key: str, body: bytes) -> str:
        """Make an object that must not be there; its ETag.

        Raises:
            ObjectExistsError: it is there, with another content.
        """
        try:
            return self._put(key, body, IfNoneMatch="*")
        except ReplacedError:
            raise ObjectExistsError(self.url, key) from None

    def replace(self, key: str, body: bytes, etag: str) -> str:
        """Put another content in the place of the version `etag`; the new ETag.

        Two contents of one object must differ, for their ETags to differ.

        Raises:
            ObjectChangedError: it is another version, or is not there any more.
        """
        try:
            return self._put(key, body, IfMatch=f'"{etag}"')
        except (ReplacedError, ObjectMissingError):
            raise ObjectChangedError(self.url, key) from None

    def put_file(self, key: str, path: Path) -> int:
        """Upload a file under a name that stands for its content; its size in bytes.

        What is there already, with the same size, is taken for the same; of another size it is not
        what its name stands for, and is replaced.

        Raises:
            ObjectExistsError, ObjectChangedError: another does the same, or removes it.
            OSError: the file cannot be read.
        """
        size = path.stat().st_size
        if size <= _PART:
            with suppress(ObjectExistsError):
                self.create(key, path.read_bytes())
                return size
        found = self.head(key)
        if found is not None and found.size == size:
            return size
        if size > _PART:
            self._put_parts(key, path, size)
        elif found is None:
            self.create(key, path.read_bytes())
        else:
            self.replace(key, path.read_bytes(), found.etag)
        return size

    def download(self, key: str, path: Path, size: int, modes: Modes | None = None) -> None:
        """Bring an object of `size` bytes to the file `path`, which must not be there.

        What breaks off goes on where it broke.

        Raises:
            ObjectMissingError: it is not there.
            ObjectChangedError: it is of another size.
            OSError: the disk refuses.
        """
        done, etag = 0, None
        with open(path, "xb", opener=(modes or Modes()).opener) as file:

            def once() -> None:
                nonlocal done, etag
                with self._opened("get", key, done, size, etag) as (body, _, answer):
                    etag = bare(answer["ETag"])
                    for data in self._pieces(body, size - done):
                        file.write(data)
                        done += len(data)

            if size:
                self._asked(key, once)

    def delete(self, keys: Sequence[str], prove: Callable[[], None] = lambda: None) -> None:
        """Remove objects; those that are not there are passed over.

        Args:
            prove: raises where nothing more may be removed; asked before each request.
        """
        for start in range(0, len(keys), _MOST_DELETED):
            prove()
            these = keys[start : start + _MOST_DELETED]

            def once(these: Sequence[str] = these) -> None:
                self._count("delete")
                with self._server.translated(None):
                    answer = self._server.client.delete_objects(
                        Bucket=self._server.bucket,
                        Delete={
                            "Objects": [{"Key": self._server.folder + key} for key in these],
                            "Quiet": True,
                        },
                    )
                for error in answer.get("Errors", []):
                    if error.get("Code") != "NoSuchKey":
                        key, code = (some([str(error.get(name))], 1) for name in ("Key", "Code"))
                        raise ObjectStorageError(
                            self.url,
                            f"{key} cannot be removed ({code});"
                            " does the access key have the right s3:DeleteObject?",
                        )

            self._asked(these[0], once)

    # What all of them do

    def _asked(self, key: str, once: Callable[[], T]) -> T:
        """An answer, asked for again and again where the failure may be none the next time."""
        with self._told(key):
            try:
                return self._retry(once, self._never)
            except TransientError as error:
                raise ObjectStorageError(
                    self.url,
                    f"{key or 'the bucket'} cannot be had: {error.problem}"
                    f" ({self._attempts + 1} times); try again later",
                ) from None
            except ReplacedError:
                raise ObjectChangedError(self.url, key) from None

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """Turn the errors of a source into those of the cache tier."""
        try:
            yield
        except MissingFileError:
            raise ObjectMissingError(self.url, key) from None
        except NotInPlanError as error:
            raise ObjectStorageError(
                self.url, f"the access key has no right to this: {key} ({error.answer})"
            ) from None
        except CredentialsError as error:
            # Others may stand there by now: who asks next signs in anew.
            _opened_once.cache_clear()
            raise ObjectStorageError(self.url, error.problem) from None
        except SourceError as error:
            raise ObjectStorageError(self.url, error.problem) from None

    def _count(self, operation: str) -> None:
        with self._counting:
            self.requests[operation] += 1

    @contextmanager
    def _opened(
        self,
        operation: str,
        key: str,
        start: int = 0,
        end: int | None = None,
        etag: str | None = None,
    ) -> Iterator[tuple[Body, int, dict[str, Any]]]:
        """The body of an object or of a piece of it, its length, and the answer's head."""
        self._count(operation)
        asked: dict[str, Any] = {}
        if end is not None:
            asked["Range"] = f"bytes={start}-{end - 1}"
        if etag is not None:
            asked["IfMatch"] = f'"{etag}"'
        with self._server.translated(key):
            answer: Any = self._server.client.get_object(
                Bucket=self._server.bucket, Key=self._server.folder + key, **asked
            )
        with answer["Body"] as stream:
            sent, length = answer.get("ETag"), answer.get("ContentLength")
            if sent is None or length is None:
                raise TransientError("the server sent an object without its ETag or its length")
            if etag is not None and bare(sent) != etag:
                raise ReplacedError
            if end is not None:
                span = str(answer.get("ContentRange") or f"bytes 0-{length - 1}/{length}")
                if span.partition("/")[0] != f"bytes {start}-{end - 1}":
                    if length < end - start:
                        raise ReplacedError
                    raise TransientError(
                        f"the server sent {some([span], 1)} when asked for {start}-{end - 1}"
                    )
                if length != end - start:
                    raise TransientError(
                        f"the server sent {length:,} bytes when asked for {start}-{end - 1}"
                    )
            yield Body(stream, length), length, answer

    def _pieces(self, body: Body, size: int) -> Iterator[bytes]:
        """What comes in, all of it, and not slower than makes sense."""
        try:
            with within(self._server.patience + size / _LEAST_RATE, body.abort):
                while data := body.read(_BLOCK):
                    yield data
        except TimeoutError:
            raise TransientError("the answer came too slowly", slow=True) from None

    def _read(self, body: Body, size: int) -> bytes:
        return b"".join(self._pieces(body, size))

    def _put(self, key: str, body: bytes, **condition: str) -> str:
        """Write an object if the condition holds; its ETag.

        Raises:
            ReplacedError: it does not, and what stands there is not what was to be written.
        """
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        is_doubtful = False

        def once() -> str:
            nonlocal is_doubtful
            self._count("put")
            try:
                with self._server.translated(key):
                    answer: Any = self._server.client.put_object(
                        Bucket=self._server.bucket,
                        Key=self._server.folder + key,
                        Body=body,
                        ContentMD5=base64.b64encode(md5).decode(),
                        **condition,  # type: ignore[arg-type]
                    )
                    return bare(str(answer["ETag"]))
            except TransientError:
                is_doubtful = True
                raise

        with self._told(key):
            try:
                return self._retry(once, self._never)
            except TransientError as error:
                raise ObjectStorageError(
                    self.url,
                    f"{key} cannot be written: {error.problem} ({self._attempts + 1} times);"
                    " try again later",
                ) from None
            except ReplacedError:
                # One that was answered by silence may have been done.
                if is_doubtful:
                    with suppress(ObjectMissingError):
                        present, etag = self.get(key)
                        if present == body:
                            return etag
                raise

    def _put_parts(self, key: str, path: Path, size: int) -> None:
        client, place = self._server.client, self._server.folder + key
        where: dict[str, Any] = {"Bucket": self._server.bucket, "Key": place}
        part_bytes = max(_PART, -(-size // 9_999))

        def ask(call: Callable[..., Any], wanted: str = "", **arguments: Any) -> Any:
            def once() -> Any:
                self._count("put")
                with self._server.translated(key):
                    answer = call(**where, **arguments)
                    return answer[wanted] if wanted else answer

            return self._asked(key, once)

        where["UploadId"] = ask(client.create_multipart_upload, "UploadId")
        try:
            parts = []
            with open(path, "rb") as file:
                for number in range(1, -(-size // part_bytes) + 1):
                    data = file.read(part_bytes)
                    md5 = hashlib.md5(data, usedforsecurity=False).digest()
                    etag = ask(
                        client.upload_part,
                        "ETag",
                        PartNumber=number,
                        Body=data,
                        ContentMD5=base64.b64encode(md5).decode(),
                    )
                    parts.append({"PartNumber": number, "ETag": etag})
            try:
                ask(client.complete_multipart_upload, MultipartUpload={"Parts": parts})
            except ObjectStorageError:
                # One that was answered by silence may have been done.
                found = self.head(key)
                if found is None or found.size != size:
                    raise
        except BaseException:
            with suppress(ObjectStorageError):
                ask(client.abort_multipart_upload)
            raise


def _age(answer: dict[str, Any]) -> float:
    """Seconds between the moment that an object was written and that of the answer."""
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    try:
        modified: datetime = answer["LastModified"]
        now = parsedate_to_datetime(said) if said else datetime.now(UTC)
        return (now - modified).total_seconds()
    except (LookupError, TypeError, ValueError, OverflowError):
        raise TransientError("the server does not say when it wrote an object") from None


@lru_cache(maxsize=4)
def _opened_once(tier: Tier, process: int) -> Bucket:
    return Bucket(tier.url, tier.endpoint)


def bucket_of(tier: Tier) -> Bucket:
    """The bucket of a cache tier; the same one for all of this process, and not a parent's.

    Raises:
        ObjectStorageError: the url or the endpoint is none.
    """
    return _opened_once(tier, os.getpid())


def check_conditional_writes(bucket: Bucket) -> None:
    """Try whether the server honours conditions; without them two writers would lose data.

    Makes an object of a name of its own, and removes it.

    Raises:
        ObjectStorageError: it does not.
    """
    key = f"{PROBES}{uuid4().hex}"
    problems = []
    bucket.create(key, b"first")
    try:
        with suppress(ObjectExistsError):
            bucket.create(key, b"second")
            problems.append("If-None-Match: *")
        with suppress(ObjectChangedError):
            bucket.replace(key, b"third", "0" * 32)
            problems.append("If-Match")
    finally:
        bucket.delete([key])
    if problems:
        raise ObjectStorageError(
            bucket.url,
            f"the server does not honour {' and '.join(problems)}: two writers would overwrite each"
            " other; use a server that has conditional writes (AWS, MinIO, Ceph, SeaweedFS, R2)",
        )
