"""A proxy on loopback between an S3 client and its server, that does what bad links do."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

_BLOCK = 1 << 16
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Request:
    """One request that came by.

    Attributes:
        number: counts from 0.
        span: the bytes [start, end) of the object that it asks for; None: all.
        sent: bytes of the answer's body that were passed on.
    """

    number: int
    method: str
    path: str
    span: tuple[int, int] | None
    sent: int = 0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with an answer, once `after` bytes of its body have been passed on.

    Where `after` is below zero nothing of it is, not even its head: the server has done what it was
    asked, and the client does not know.

    cut: the connection is closed. reset: it is reset. stall: nothing more comes. drip: a byte
    comes now and then. flip: the next byte's lowest bit is the wrong one. status: this answer is
    given in place of the server's.
    """

    kind: Literal["cut", "reset", "stall", "drip", "flip", "status"]
    after: int = 0
    status: int = 503
    headers: tuple[tuple[str, str], ...] = ()


class FaultProxy:
    """Use it with `with`.

    Args:
        upstream: port of the server on loopback.
        plan: is asked what goes wrong with each request; may be set anew at any time.
        bytes_per_second: what each connection carries; None: all it can.
        together: it is what all of them carry together.
    """

    def __init__(
        self,
        upstream: int,
        plan: Callable[[Request], Fault | None] = lambda request: None,
        bytes_per_second: int | None = None,
        *,
        together: bool = False,
    ) -> None:
        self.upstream, self.plan, self.bytes_per_second = upstream, plan, bytes_per_second
        self._together, self._free_at = together, 0.0
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def gets(self) -> list[Request]:
        """Requests for a piece of an object, so far."""
        return [request for request in self.requests if request.span is not None]

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        # A blocked accept or recv is woken by shutdown alone, not by close.
        with self._lock:
            sockets = [self._listener, *self._sockets]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        server = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as asked:
                while not self._closing.is_set() and self._one(connection, asked, server):
                    pass
        except (OSError, http.client.HTTPException):
            pass
        finally:
            with self._lock:
                self._sockets.discard(connection)
            server.close()
            connection.close()

    def _one(
        self, connection: socket.socket, asked: object, server: http.client.HTTPConnection
    ) -> bool:
        """Pass on one request and its answer; False: the connection is of no more use."""
        line = asked.readline().decode("latin-1")  # type: ignore[attr-defined]
        if not line:
            return False
        method, path, _ = line.split(" ", 2)
        headers = []
        while (header := asked.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            name, _, value = header.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        said = {name.lower(): value for name, value in headers}
        if said.pop("expect", None):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers = [(name, value) for name, value in headers if name.lower() != "expect"]
        content = asked.read(int(said.get("content-length", 0)))  # type: ignore[attr-defined]
        ranges = [value for name, value in headers if name.lower() == "range"]
        match = _RANGE.fullmatch(ranges[0]) if ranges else None
        span = (int(match[1]), int(match[2]) + 1) if match else None
        with self._lock:
            request = Request(len(self.requests), method, path, span)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            fault = self.plan(request)
            if fault is not None and fault.kind == "status":
                self._say_status(connection, fault)
                return True
            server.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                server.putheader(name, value)
            server.endheaders(content or None)
            return self._pass_on(connection, request, server.getresponse(), fault)
        finally:
            with self._lock:
                self._at_once -= 1

    def _say_status(self, connection: socket.socket, fault: Fault) -> None:
        codes = {401: "InvalidAccessKeyId", 403: "AccessDenied", 404: "NoSuchKey"}
        code = codes.get(fault.status, "SlowDown")
        body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        lines = [f"HTTP/1.1 {fault.status} No", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in fault.headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def _pass_on(
        self,
        connection: socket.socket,
        request: Request,
        answer: http.client.HTTPResponse,
        fault: Fault | None,
    ) -> bool:
        if fault is not None and fault.after < 0:
            answer.read()
            self._fail(connection, fault, b"")
            return False
        hop = {"transfer-encoding", "connection", "keep-alive"}
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [
            f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in hop
        ]
        body = None
        if answer.getheader("Content-Length") is None and request.method != "HEAD":
            body = answer.read()
            lines.append(f"Content-Length: {len(body)}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method == "HEAD":
            answer.read()
            return True
        began = time.monotonic()
        while data := (body if body is not None else answer.read(_BLOCK)):
            body = b"" if body is not None else None
            if fault is not None and request.sent + len(data) > fault.after:
                keep = fault.after - request.sent
                if fault.kind == "flip":
                    data = data[:keep] + bytes([data[keep] ^ 1]) + data[keep + 1 :]
                    fault = None
                else:
                    connection.sendall(data[:keep])
                    request.sent += keep
                    self._fail(connection, fault, data[keep:])
                    return False
            connection.sendall(data)
            request.sent += len(data)
            if self.bytes_per_second:
                if self._together:
                    ahead = self._turn(len(data) / self.bytes_per_second)
                else:
                    ahead = request.sent / self.bytes_per_second - (time.monotonic() - began)
                if ahead > 0 and self._closing.wait(ahead):
                    return False
        return True

    def _turn(self, seconds: float) -> float:
        """Take the link that all share for so long; how long it is until it is free again."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + seconds
            return self._free_at - now

    def _fail(self, connection: socket.socket, fault: Fault, rest: bytes) -> None:
        if fault.kind == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault.kind == "stall":
            # Until the other side has had enough.
            connection.settimeout(60)
            with suppress(OSError):
                connection.recv(1)
        elif fault.kind == "drip":
            for byte in rest:
                connection.sendall(bytes([byte]))
                if self._closing.wait(0.05):
                    return
