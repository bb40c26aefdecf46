"""The S3 server: requests, and what its answers mean."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as boto
import urllib3.exceptions
from botocore.config import Config as BotoConfig
from botocore.parsers import ResponseParserError

from warehouse.errors import (
    CredentialsError,
    MissingFileError,
    NotInPlanError,
    SourceError,
    TransferError,
    WarehouseError,
    one_line,
)
from warehouse.source.retry import TransientError
from warehouse.text import some

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ACCESS_KEY, SECRET = "POLYGON_S3_ACCESS_KEY", "POLYGON_S3_SECRET"
"""Where credentials are looked for before the usual AWS chain is."""

_REGION = "us-east-1"
_CONNECT_SECONDS = 10.0
_HOW_TO_SIGN_IN = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of your account's S3 access"
)
_BAD_KEY = {
    "AuthFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "Unauthorized",
    "401",
}
_BUSY = {
    # Two writers met; who asks again is told who was first.
    "ConditionalRequestConflict",
    "OperationAborted",
    "RequestTimeout",
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
}
_OF_A_FILE = {
    "InvalidObjectState": "it is archived; restore it in the bucket first",
    "InvalidRequest": "it may be encrypted with a key that must be sent along",
}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
)
_UNREACHABLE = (
    boto.ConnectTimeoutError,
    boto.EndpointConnectionError,
    boto.ProxyConnectionError,
    boto.SSLError,
)
_BROKEN = (
    boto.HTTPClientError,
    boto.IncompleteReadError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    OSError,
)
# What boto3 raises where an answer is well-formed and says what no server of S3's would.
_NONSENSE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    # A date that no calendar has; and what is nested too deeply.
    RuntimeError,
    TypeError,
    ValueError,
)
_REDIRECTS = 300
_LONGEST_CODE = 64
"""Letters of an error's code that are shown; those of S3 have some thirty."""
# A page of a list holds 1,000 keys of at most 1,024 bytes.
_LONGEST_ANSWER, _ANSWER_BLOCK = 16 << 20, 1 << 16
_LONGEST_KEY = 1_024
# Of such a page there are some 25 tags a key; each takes many times its bytes in memory.
_MOST_TAGS = 1 << 18
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_ENTITIES = b"<!DOCTYPE"
"""What declares names for texts, which a parser puts in as often as they are named."""
# Seconds that the head of an answer, and again an answer that is read whole, may take, however it
# drips; the time-out if that is longer.
_PATIENCE = 10.0
_FAILURES = (
    boto.BotoCoreError,
    boto.ClientError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
)


@dataclass(frozen=True)
class Keys:
    """Names of what the user has said of a server, for messages: `section.key`.

    `credentials` are variables of the environment that hold the access key and the secret, and
    come before the usual AWS chain.
    """

    url: str
    endpoint: str
    credentials: tuple[str, str] | None = None


SOURCE_KEYS = Keys("source.url", "source.endpoint", (ACCESS_KEY, SECRET))


class _TooLongError(Exception):
    """An answer does not end where S3 has a short one."""


class ReplacedError(Exception):
    """The object is no longer the version that was asked for."""


@dataclass(frozen=True)
class Listed:
    """An object as the server lists it. The ETag is without its quotes.

    Attributes:
        modified: when it was written, by the server's clock; None: it does not say.
    """

    key: str
    size: int
    etag: str
    modified: datetime | None = field(default=None, compare=False)


class Body:
    """What the server sends of an object.

    Attributes:
        is_encrypted: with a key of the owner's or the customer's: its ETag is no MD5.
    """

    def __init__(self, stream: Any, size: int, *, is_encrypted: bool = False) -> None:
        self._stream, self._left = stream, size
        self.is_encrypted = is_encrypted

    def read(self, size: int) -> bytes:
        """What has come in, at most `size` bytes; none at the end.

        Does not wait until there is `size`: who reads can tell a trickle from a stream.

        Raises:
            TransientError: the connection broke, fell silent, or ended before all was there.
        """
        if self._left == 0:
            return b""
        try:
            data: bytes = self._stream.read1(min(size, self._left))
        except _BROKEN as error:
            raise TransientError(_short(error)) from None
        if not data:
            raise TransientError(f"the answer ended {self._left:,} bytes early")
        self._left -= len(data)
        return data

    def abort(self) -> None:
        """Wake a thread that waits for bytes; safe to call from another one."""
        with suppress(Exception):
            self._stream.shutdown()


class S3Server:
    """A bucket on a server. Safe to use from many threads.

    Credentials come from the environment (the names in `keys`, then the usual AWS chain) and are
    held by boto3 alone.

    Args:
        url: s3://BUCKET or s3://BUCKET/FOLDER.
        endpoint: URL of the server; empty: AWS, in the region of the usual AWS chain.
        connections: how many requests may be under way.
        timeout: seconds of silence after which a connection is given up.
        keys: what the user calls all this.

    Attributes:
        client: boto3's, to be used within `translated`.
        folder: what the keys begin with: FOLDER/, or nothing.
        patience: seconds that an answer which is held whole may take.

    Raises:
        SourceError: the url or the endpoint is none.
        CredentialsError: one of the two names is set and the other is not.
    """

    def __init__(
        self,
        url: str,
        endpoint: str,
        connections: int,
        timeout: float,
        environ: Mapping[str, str] | None = None,
        keys: Keys = SOURCE_KEYS,
    ) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc or "@" in urlsplit(endpoint).netloc:
            where = keys.endpoint if "@" in urlsplit(endpoint).netloc else keys.url
            raise SourceError("s3", f"{where} holds credentials; {_HOW_TO_SIGN_IN} instead")
        if parts.scheme != "s3" or not parts.netloc:
            raise SourceError(url, "must be s3://BUCKET")
        if {"?", "#"} & set(url) or {".", ".."} & set(parts.path.split("/")):
            # What follows a ? would be passed over: a prefix of another name, and of its owner.
            problem = f"{keys.url} has ? or #, or a folder called . or .., which no prefix here may"
            raise SourceError(url, problem)
        self.url, self.endpoint = url.rstrip("/"), endpoint or "AWS"
        self._check_url, self._check_endpoint = f"; check {keys.url}", f"; check {keys.endpoint}"
        self.bucket = parts.netloc
        self.folder = f"{folder}/" if (folder := parts.path.strip("/")) else ""
        environ = os.environ if environ is None else environ
        access, secret = (environ.get(name) or None for name in keys.credentials or ("", ""))
        if keys.credentials is not None and (access is None) != (secret is None):
            there, absent = keys.credentials if access else keys.credentials[::-1]
            raise CredentialsError(self.url, f"{there} is set and {absent} is not; set both")
        config = BotoConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Ours, which know what has come in already, are enough.
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=connections,
            connect_timeout=min(timeout, _CONNECT_SECONDS),
            read_timeout=timeout,
            tcp_keepalive=True,
        )
        try:
            # A session of its own: the module's shared one is not for several threads.
            session = boto3.session.Session(
                aws_access_key_id=access,
                aws_secret_access_key=secret,
                region_name=_REGION if endpoint else None,
            )
            # Settings may name a program that tells them.
            session.get_credentials()
        except (boto.BotoCoreError, OSError, *_NONSENSE) as error:
            raise self._of_settings(error) from None
        try:
            self.client: S3Client = session.client(
                "s3", endpoint_url=endpoint or None, config=config
            )
        except boto.BotoCoreError as error:
            raise self._of_settings(error) from None
        except _NONSENSE:
            problem = f"{self.endpoint} is no server's URL{self._check_endpoint}"
            raise SourceError(self.url, problem) from None
        # Nothing that was asked of the server has been answered yet.
        self.reached = False
        self.patience = max(_PATIENCE, timeout)
        _bound_heads(self.client, self.patience)
        events = self.client.meta.events
        events.register_first("before-send.s3", self._send)
        events.register("before-call.s3", _stay)

    def page(self, prefix: str, token: str | None) -> tuple[list[Listed], str | None]:
        """Up to 1,000 objects whose key begins with `prefix`, and what to ask for the next with.

        Raises:
            SourceError, TransientError
        """
        with self.translated(None):
            following = {"ContinuationToken": token} if token else {}
            answer = self.client.list_objects_v2(
                Bucket=self.bucket,
                Prefix=self.folder + prefix,
                **following,  # type: ignore[arg-type]
            )
            listed = answer.get("Contents", [])
            for item in listed:
                if (size := len(item["Key"].encode())) > _LONGEST_KEY:
                    raise SourceError(
                        self.url,
                        f"{self.endpoint} lists a key of {size:,} bytes, where S3 has at most"
                        f" {_LONGEST_KEY:,}{self._check_endpoint}",
                    )
            found = [
                Listed(
                    item["Key"][len(self.folder) :],
                    item["Size"],
                    bare(item["ETag"]),
                    _moment(item.get("LastModified")),
                )
                for item in listed
                # What was not asked for is not taken.
                if item["Key"].startswith(self.folder + prefix)
            ]
            # A server that spells `true` otherwise would be taken to say no: what it gives a token
            # for goes on.
            following_token = answer.get("NextContinuationToken") or None
            if answer["IsTruncated"]:
                following_token = answer["NextContinuationToken"]
        return found, following_token

    def head(self, key: str) -> Listed:
        """The object as it is now.

        Raises:
            SourceError, TransientError
        """
        try:
            with self.translated(key):
                answer = self.client.head_object(Bucket=self.bucket, Key=self.folder + key)
                return Listed(key, answer["ContentLength"], bare(answer["ETag"]))
        except ReplacedError:
            # Of no version in particular it was asked for.
            raise TransientError("the server answers that it has no such version") from None

    def part_size(self, key: str, etag: str) -> int | None:
        """The size of the parts an object was uploaded in; None where the server does not say."""
        try:
            with self.translated(key):
                answer = self.client.head_object(
                    Bucket=self.bucket, Key=self.folder + key, PartNumber=1, IfMatch=f'"{etag}"'
                )
        except (WarehouseError, TransientError, ReplacedError):
            return None
        if answer.get("PartsCount") != int(etag.rpartition("-")[2]):
            return None
        return answer.get("ContentLength") or None

    @contextmanager
    def get(self, key: str, etag: str, size: int, start: int, end: int) -> Iterator[Body]:
        """The bytes [start, end) of the version `etag`, `size` of an object.

        Raises:
            ReplacedError: there is another version now.
            SourceError, TransientError
        """
        with self.translated(key):
            answer = self.client.get_object(
                Bucket=self.bucket,
                Key=self.folder + key,
                Range=f"bytes={start}-{end - 1}",
                IfMatch=f'"{etag}"',
            )
        with answer["Body"] as stream:
            sent_etag, length = answer.get("ETag"), answer.get("ContentLength")
            if sent_etag is None or length is None:
                raise TransientError("the server sent a file without its ETag or its length")
            sent = answer.get("ContentRange") or f"bytes 0-{length - 1}/{size}"
            if bare(sent_etag) != etag or sent.rpartition("/")[2] != str(size):
                raise ReplacedError
            if sent != f"bytes {start}-{end - 1}/{size}":
                raise TransientError(
                    f"the server sent {some([sent], 1)} when asked for {start}-{end - 1}"
                )
            yield Body(stream, end - start, is_encrypted=_is_encrypted(answer))

    def _send(self, request: Any, **_: object) -> Any:
        """Do what boto3 would, but read of an answer that it would hold whole no more than is fit.

        The bytes of a file are read by `Body`, as they come.
        """
        is_file, request.stream_output = request.stream_output, True
        answer = self.client._endpoint.http_session.send(request)  # type: ignore[attr-defined]
        if not _LENGTH.fullmatch(answer.headers.get("Content-Length", "0")):
            # Of a length below nothing there would be no end.
            answer.raw.close()
            raise ValueError
        if is_file and answer.status_code < _REDIRECTS:
            return answer
        content = bytearray()
        try:
            # Not every urllib3 that boto3 takes has it.
            with within(self.patience, getattr(answer.raw, "shutdown", answer.raw.close)):
                for data in iter(lambda: answer.raw.read1(_ANSWER_BLOCK), b""):
                    content += data
                    if len(content) > _LONGEST_ANSWER:
                        answer.raw.close()
                        raise _TooLongError
        except TimeoutError:
            answer.raw.close()
            raise boto.ReadTimeoutError(endpoint_url=self.endpoint) from None
        answer.raw.release_conn()
        # No answer of S3's has one; a page of a proxy's may. UTF-16 has a zero beside each letter.
        has_entities = _ENTITIES in content.replace(b"\0", b"")
        if has_entities or content.count(b"<") > _MOST_TAGS:
            if answer.status_code < _REDIRECTS:
                raise ResponseParserError("a document type, or tags without end")
            content.clear()
        answer._content = bytes(content)
        return answer

    @contextmanager
    def translated(self, key: str | None) -> Iterator[None]:
        """Turn boto3's exceptions into ours.

        Their causes are left out: they can hold what was sent.
        """
        try:
            yield
            self.reached = True
        except _FAILURES as error:
            raise self._meaning(error, key) from None
        except _TooLongError:
            problem = f"gives an answer of more than {_LONGEST_ANSWER:,} bytes where S3 has a short"
            raise self._odd(f"{problem} one", key, self.reached) from None
        except _NONSENSE as error:
            problem = f"gives an answer that is none of S3's ({type(error).__name__})"
            raise self._odd(problem, key, self.reached) from None

    def _of_settings(self, error: Exception) -> SourceError:
        """What keeps this computer from asking any server. Nothing has been sent yet."""
        if isinstance(error, _NO_CREDENTIALS):
            return self._no_credentials(error)
        problem = "the AWS settings of this computer (~/.aws, AWS_… variables) cannot be used"
        return SourceError(self.url, f"{problem}: {one_line(error)}")

    def _no_credentials(self, error: Exception) -> CredentialsError:
        return CredentialsError(
            self.url, f"there are no credentials ({_short(error)}); {_HOW_TO_SIGN_IN}"
        )

    def _meaning(self, error: Exception, key: str | None) -> Exception:
        if isinstance(error, boto.ClientError):
            if not self.reached and _is_gibberish(error):
                return self._no_s3_server()
            reached, self.reached = self.reached, True
            return self._answer(error, key, reached)
        if isinstance(error, _NO_CREDENTIALS):
            return self._no_credentials(error)
        if isinstance(error, _UNREACHABLE) and not self.reached:
            check = self._check_endpoint
            if isinstance(error, boto.SSLError):
                check += ", and the certificates that AWS_CA_BUNDLE names where a proxy has its own"
            if isinstance(error, boto.ProxyConnectionError):
                check = "; check HTTPS_PROXY and NO_PROXY"
            return SourceError(
                self.url, f"{self.endpoint} cannot be reached ({_short(error)}){check}"
            )
        if isinstance(error, ResponseParserError) and not self.reached:
            return self._no_s3_server()
        if isinstance(error, _BROKEN):
            return TransientError(_short(error))
        if isinstance(error, boto.ParamValidationError):
            return SourceError(self.url, f"{self.bucket} is no bucket's name{self._check_url}")
        return SourceError(self.url, f"cannot be asked ({_short(error)})")

    def _no_s3_server(self) -> SourceError:
        return SourceError(self.url, f"{self.endpoint} is no S3 server{self._check_endpoint}")

    def _odd(self, problem: str, key: str | None, reached: bool) -> SourceError:
        """What an answer means that no server of S3's gives.

        One that has answered as S3 does is one: such an answer is that file's own, and others may
        be had.
        """
        if key and reached:
            return TransferError(self.url, key, f"the server {problem}")
        return SourceError(self.url, f"{self.endpoint} {problem}{self._check_endpoint}")

    def _answer(self, error: boto.ClientError, key: str | None, reached: bool) -> Exception:
        response: Any = error.response
        code = str(response.get("Error", {}).get("Code", ""))[:_LONGEST_CODE]
        meta = response.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        answer = f"{status}" if code in ("", str(status)) else f"{status} {code}"
        if key is not None and status in (412, 416):
            return ReplacedError()
        if status == 429 or code in _BUSY or (status >= 500 and status != 501):
            return TransientError(f"the server answers {answer}", pause=_seconds(meta))
        if code in _BAD_KEY or status == 401:
            return CredentialsError(
                self.url,
                f"{self.endpoint} refuses the access key or its secret ({answer});"
                f" {_HOW_TO_SIGN_IN}",
            )
        if code == "RequestTimeTooSkewed":
            return SourceError(self.url, "this computer's clock is not the server's; set it right")
        if code == "NoSuchBucket" or code == "InvalidBucketName" or (status == 404 and not key):
            return SourceError(
                self.url,
                f"there is no bucket {self.bucket} at {self.endpoint}{self._check_url}",
            )
        if status == 404 and key:
            return MissingFileError(self.url, key)
        if key and code in _OF_A_FILE:
            return TransferError(self.url, key, f"{_OF_A_FILE[code]} ({answer})")
        if status == 403 and key:
            return NotInPlanError(self.url, key, answer)
        if status == 403:
            return SourceError(self.url, f"the access key may not list the bucket ({answer})")
        if (300 <= status < 400 or code in _ELSEWHERE) and not (key and reached):
            return SourceError(
                self.url,
                f"the bucket is not at {self.endpoint} ({answer}){self._check_endpoint}",
            )
        if 400 <= status < 500 and key:
            # Such as that the key it is encrypted with is disabled: others may be had.
            return TransferError(self.url, key, f"the server answers {answer}")
        return self._odd(f"answers {answer}", key, reached)


@contextmanager
def within(seconds: float, shut: Callable[[], object]) -> Iterator[None]:
    """Shut a connection that something is read from, unless it is done in time.

    A time-out is one of each read, and a server can send without end what is not handed out:
    answers "100 Continue", headers, trailers. Of a shut connection the rest reads as if it ended.

    Raises:
        TimeoutError: it was not done, whatever came of it.
    """
    lock, is_done, is_late = threading.Lock(), False, False

    def give_up() -> None:
        nonlocal is_late
        with lock:
            if not is_done:
                is_late = True
                with suppress(Exception):
                    shut()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if is_late:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
        with lock:
            is_done = True
    if is_late:
        raise TimeoutError


def _bound_heads(client: S3Client, seconds: float) -> None:
    """Give up connections whose answer does not come to the end of its head in time."""
    classes = client._endpoint.http_session._pool_classes_by_scheme  # type: ignore[attr-defined]
    for scheme, pool in classes.items():
        plain_connection: Any = pool.ConnectionCls

        class Connection(plain_connection):  # type: ignore[misc]
            def connect(self) -> Any:
                """The way to the server; a proxy's answer has a head too."""
                with within(seconds, self._shut):
                    return super().connect()

            def getresponse(self, *arguments: Any, **named: Any) -> Any:
                """The answer, whose body is not read yet."""
                with within(seconds, self._shut):
                    return super().getresponse(*arguments, **named)

            def _shut(self) -> None:
                # One of TLS would say good-bye, in the midst of what another thread reads.
                inner: Any = getattr(self.sock, "socket", self.sock)
                socket.socket.shutdown(inner, socket.SHUT_RDWR)

        classes[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _stay(params: dict[str, Any], **_: object) -> None:
    """Let boto3 follow no answer to another region: the endpoint is where the bucket is.

    Where that answers the question for the region alike, it would ask without end.
    """
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def bare(etag: str) -> str:
    """An ETag without its quotes; a proxy on the way may have marked it as a weak one."""
    return etag.removeprefix("W/").strip('"')


def _moment(said: datetime | None) -> datetime | None:
    """When something was written; of a time without its zone nobody knows."""
    return None if said is None or said.tzinfo is None else said


def _is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Whether the answer says that it is encrypted so that its ETag is no MD5 of it.

    With keys of the server's own (AES256) it is one.
    """
    how = answer.get("ServerSideEncryption")
    return bool(answer.get("SSECustomerAlgorithm")) or (how is not None and how != "AES256")


def _is_gibberish(error: boto.ClientError) -> bool:
    """Whether the answer was none of S3's; boto3 makes a 500 of a page that says "welcome"."""
    return str(error.response.get("Error", {}).get("Code", "")) == "500"


def _seconds(meta: Mapping[str, Any]) -> float:
    """How long the server asks to be left alone."""
    try:
        return max(0.0, float(meta.get("HTTPHeaders", {}).get("retry-after", 0)))
    except ValueError:
        return 0.0


def _short(error: Exception) -> str:
    """What happened, in a few words that hold nothing that was sent."""
    if isinstance(
        error, (boto.ReadTimeoutError, urllib3.exceptions.ReadTimeoutError, TimeoutError)
    ):
        return "no answer in time"
    if isinstance(error, boto.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, boto.EndpointConnectionError):
        return "no connection"
    if isinstance(error, boto.ProxyConnectionError):
        return "no connection to the proxy"
    if isinstance(error, boto.SSLError):
        return "no secure connection"
    if isinstance(error, _NO_CREDENTIALS):
        return type(error).__name__
    if isinstance(error, (boto.HTTPClientError, urllib3.exceptions.HTTPError, OSError)):
        return "the connection broke"
    return type(error).__name__
