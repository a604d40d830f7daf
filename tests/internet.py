"""The part of the internet that a first session needs, on 127.0.0.1: a proxy that leads named hosts
to fake upstreams, behind TLS certificates of an authority of its own.

What runs with `env` reaches https://api.anthropic.com/… as it does in the real world; nothing of
llmswitch is told another address.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.upstream import FakeUpstream, _Exchange

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's own authority")])


class Strict(FakeUpstream):
    """An upstream that lists its models, as providers do, only to whoever has a key of it."""

    def __init__(self, name: str, models: Collection[str], keys: Collection[str]) -> None:
        super().__init__(name, tuple(models))
        self._keys = {*keys, *(f"Bearer {key}" for key in keys)}

    async def _route(self, exchange: _Exchange) -> None:
        headers = exchange.request.headers
        given = {headers.get("x-api-key"), headers.get("authorization")}
        if exchange.request.method == "GET" and not given & self._keys:
            await exchange.json(401, {"type": "error", "error": {"type": "authentication_error"}})
        else:
            await super()._route(exchange)


class Internet:
    """The proxy; a context manager that serves from a thread. `asked` are the hosts that were
    wanted, those that are not there as well.
    """

    def __init__(self, hosts: Mapping[str, FakeUpstream], folder: Path) -> None:
        self.asked: list[str] = []
        self._hosts = hosts
        self._authority = folder / "authority.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(_make_certificate(hosts, folder, self._authority))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._port = 0
        self._server: asyncio.Server | None = None

    @property
    def env(self) -> dict[str, str]:
        """What a shell must export to live in it."""
        return {
            "HTTPS_PROXY": f"http://127.0.0.1:{self._port}",
            "SSL_CERT_FILE": str(self._authority),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        if self._server:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.05)  # what was aborted is closed in the loop's next rounds

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = [writer]
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            first = await reader.readuntil(b"\r\n\r\n")
            host = first.split()[1].decode().rpartition(":")[0]
            self.asked.append(host)
            if not first.startswith(b"CONNECT") or host not in self._hosts:
                writer.write(b"HTTP/1.1 502 no such host here\r\n\r\n")
                await writer.drain()
            else:
                writer.write(b"HTTP/1.1 200 connected\r\n\r\n")
                await writer.drain()
                await writer.start_tls(self._context)
                port = self._hosts[host].port
                there, onward = await asyncio.open_connection("127.0.0.1", port)
                opened.append(onward)
                await asyncio.gather(_pump(reader, onward), _pump(there, writer))
        for one in opened:
            one.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _make_certificate(hosts: Collection[str], folder: Path, authority: Path) -> Path:
    """One certificate for all hosts; returns the file with it and its key."""
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    signed = _certificate(root.public_key(), None).sign(root, hashes.SHA256())
    own = _certificate(leaf.public_key(), hosts).sign(root, hashes.SHA256())
    authority.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = leaf.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / "server.pem"
    file.write_bytes(private + own.public_bytes(serialization.Encoding.PEM))
    return file


def _certificate(key: Any, hosts: Collection[str] | None) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME if hosts is None else x509.Name([]))
        .issuer_name(_NAME)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
    )
    if hosts is None:
        return builder
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    return builder.add_extension(names, critical=True)
