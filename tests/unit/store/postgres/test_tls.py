"""TLS between the gateway and PostgreSQL: the certificate is compared as `sslmode` says, and the refusal says why."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.store.postgres.server import Server, check_fitness, complaint

SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))  # https://www.postgresql.org/docs/18/protocol-message-formats.html


def certificate(folder: Path, name: str) -> Path:
    """A self-made certificate for 127.0.0.1 with its key, in one file each."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return path


@pytest_asyncio.fixture
async def port(tmp_path: Path, postgres_url: str) -> AsyncIterator[int]:
    """The port of a proxy that speaks TLS with clients, before the server of the tests, which has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path, "right"), tmp_path / "right.key")
    place = urlsplit(postgres_url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            assert await reader.readexactly(8) == SSL_REQUEST
            writer.write(b"S")
            await writer.start_tls(context)
            upstream = await asyncio.open_connection(place.hostname, place.port)
            await asyncio.gather(pump(reader, upstream[1]), pump(upstream[0], writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_the_certificate_of_the_server_is_compared(port: int, postgres_url: str, tmp_path: Path) -> None:
    certificate(tmp_path, "wrong")
    user, database = urlsplit(postgres_url).username, urlsplit(postgres_url).path

    def server(host: str, root: str, mode: str = "verify-full") -> Server:
        return Server(f"postgresql://{user}@{host}:{port}{database}?sslmode={mode}&sslrootcert={tmp_path / root}.pem")

    for fit in (server("127.0.0.1", "right"), server("localhost", "right", "verify-ca")):
        connection = await fit.connect()
        await check_fitness(connection)
        await connection.close()
    for unfit in (server("localhost", "right"), server("127.0.0.1", "wrong")):
        with pytest.raises(ssl.SSLCertVerificationError) as refusal:
            await unfit.connect()
        text = str(complaint(unfit, refusal.value))
        assert "`sslrootcert`" in text
        assert "certificate verify failed" in text
