"""A server on loopback that answers as no server of S3's would, for tests."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date

from warehouse.core.paths import RawFile
from warehouse.source.transfer import SourceObject

_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
_RANGE = re.compile(rb"[Rr]ange: bytes=(\d+)-(\d+)")


class OddServer:
    """Use it with `with`. Serves one file of trades, or whatever it is told to.

    Args:
        body: of the file.
        etag: that it says the file has.
        headers: of each answer about the file.
        answers: is asked with the request's first line; what it gives is sent as it is, piece by
            piece, as long as the client takes it. None: the file, or the list that has it alone.
        takes: in place of `answers`: is given the first line, the head and the body of a request.
    """

    def __init__(
        self,
        body: bytes = b"",
        etag: str = "",
        headers: Sequence[str] = (),
        answers: Callable[[str], object] = lambda line: None,
        takes: Callable[[str, bytes, bytes], bytes] | None = None,
    ) -> None:
        self.takes = takes
        self.body, self.etag, self.headers, self.answers = body, etag, list(headers), answers
        self.lines: list[str] = []
        self.sent = 0
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._sockets: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def item(self) -> SourceObject:
        file = RawFile("trades", date(2024, 1, 2))
        return SourceObject(file, file.key, len(self.body), self.etag)

    def __enter__(self) -> OddServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        for each in (self._listener, *list(self._sockets)):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as asked:
            while line := asked.readline():
                head = line
                while (more := asked.readline()) not in (b"\r\n", b""):
                    head += more
                self.lines.append(line.decode())
                if self.takes is not None:
                    if b"100-continue" in head.lower():
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    found = _LENGTH.search(head)
                    body = asked.read(int(found[1]) if found else 0)
                    connection.sendall(self.takes(line.decode(), head, body))
                    continue
                answer = self.answers(line.decode())
                if answer is None:
                    answer = [self._file(line, head)]
                elif isinstance(answer, bytes):
                    answer = [answer]
                for piece in answer:  # type: ignore[attr-defined]
                    if self._closing.is_set():
                        return
                    connection.sendall(piece)
                    self.sent += len(piece)

    def _file(self, line: bytes, head: bytes) -> bytes:
        if b"list-type" in line:
            return xml(listing([(self.item().key, len(self.body), self.etag)]))
        size = len(self.body)
        etag = self.etag if self.etag.startswith("W/") else f'"{self.etag}"'
        lines = [f"ETag: {etag}", *self.headers]
        found = _RANGE.search(head)
        if line.startswith(b"HEAD") or found is None:
            data = self.body
            lines.insert(0, "HTTP/1.1 200 OK")
        else:
            start, end = int(found[1]), int(found[2]) + 1
            data = self.body[start:end]
            lines.insert(0, "HTTP/1.1 206 Partial Content")
            lines.append(f"Content-Range: bytes {start}-{end - 1}/{size}")
        lines.append(f"Content-Length: {len(data)}")
        content = b"" if line.startswith(b"HEAD") else data
        return "\r\n".join([*lines, "", ""]).encode() + content


def http(status: str, body: bytes, *headers: str) -> bytes:
    """An answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def xml(body: str) -> bytes:
    return http("200 OK", body.encode(), "Content-Type: application/xml")


def listing(
    items: Sequence[tuple[object, object, object]],
    head: str = "<IsTruncated>false</IsTruncated>",
) -> str:
    """A list of (key, size, ETag)."""
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{etag}</ETag></Contents>"
        for key, size, etag in items
    )
    return f"<ListBucketResult>{head}{contents}</ListBucketResult>"
