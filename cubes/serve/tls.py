"""TLS of the endpoint: its certificate and key, read again when their files change, and what binds a log-in to it."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Final

from lake.errors import ConfigError
from lake.settings import Settings

# Direct TLS, without a request before it, is only for clients that say what they will speak.
PROTOCOL: Final = "postgresql"
# Signature algorithms, as they stand in a certificate, and the hash that RFC 5929 takes for each; else SHA-256, which
# stands for MD5 and SHA-1 too.
_HASHES: Final = {
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}
# Ed25519 and Ed448 name no hash of their own: such a certificate can't be bound to.
_UNBOUND: Final = (bytes.fromhex("2b6570"), bytes.fromhex("2b6571"))


class Tls:
    """A certificate and its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Errors: ConfigError for files that can't be read or don't belong together."""
        self._files = (certificate, key)
        self._stamp = self._stamped()
        self._context, self.binding = self._load()

    def context(self) -> ssl.SSLContext:
        """For the next connection; a certificate that was renewed is taken up, one that is broken is not."""
        try:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._context, self.binding = self._load()
                self._stamp = stamp
        except ConfigError:
            # Between the replacing of two files they don't fit; the one that is loaded still serves.
            return self._context
        return self._context

    def _stamped(self) -> tuple[tuple[int, int], ...]:
        try:
            found = [path.stat() for path in self._files]
        except OSError as error:
            raise self._broken(error) from error
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)

    def _load(self) -> tuple[ssl.SSLContext, bytes]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([PROTOCOL])
        certificate, key = self._files
        try:
            # A key with a passphrase is an error: nobody is there to type it.
            context.load_cert_chain(certificate, key, password=lambda: "")
            return context, end_point(certificate.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> ConfigError:
        todo = "Give PEM files that belong together, the key without a passphrase."
        what = f"TLS can't start: {error}."
        return ConfigError(what, where=f"serve_certificate {self._files[0]}, serve_key {self._files[1]}", todo=todo)


def tls_of(settings: Settings) -> Tls | None:
    """The TLS that the settings ask for. Errors: ConfigError for half of it, or files that don't do."""
    if bool(settings.serve_certificate) != bool(settings.serve_key):
        todo = "Set the other one too."
        raise ConfigError("TLS wants both `serve_certificate` and `serve_key`.", where="settings", todo=todo)
    if not settings.serve_certificate:
        return None
    return Tls(Path(settings.serve_certificate).expanduser(), Path(settings.serve_key).expanduser())


def end_point(pem: str) -> bytes:
    """The hash of a certificate that RFC 5929 calls tls-server-end-point; empty where it has none."""
    end = "-----END CERTIFICATE-----"
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(end) + len(end)])
    algorithm = _signature_algorithm(der)
    if algorithm in _UNBOUND:
        return b""
    return hashlib.new(_HASHES.get(algorithm, "sha256"), der).digest()


def _signature_algorithm(der: bytes) -> bytes:
    """The object identifier behind the signed part: Certificate is a sequence of that part, algorithm and signature."""
    inner, _ = _element(der, 0)
    _, behind = _element(der, inner)
    algorithm, _ = _element(der, behind)
    start, end = _element(der, algorithm)
    return der[start:end]


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of a DER element begins and ends."""
    size = der[at + 1]
    start = at + 2
    if size & 0x80:
        count = size & 0x7F
        size, start = int.from_bytes(der[start : start + count], "big"), start + count
    return start, start + size
