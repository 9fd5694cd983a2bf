"""Users of the SQL endpoint and how each is recognised: SCRAM-SHA-256 verifiers, never passwords.

A verifier lets the endpoint check a password that it can't be turned back into, in PostgreSQL's own form (RFC 5802,
RFC 7677). One file for a lake, on the host that serves it, mode 0600, replaced whole. An unknown name gets a verifier
too, made of a kept secret: so it answers as slowly, and with as steady a salt, as a known one. What a user may read
is not here but in the access file (`cubes.access`). Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lake.errors import ConfigError, DefinitionError, did_you_mean
from lake.private import changing, stamp, write_private

# PostgreSQL takes 4,096; clients do as many rounds at each log-in, in Python or Java too.
ITERATIONS: Final = 10_000
_SALT_BYTES: Final = 16
_SHORTEST: Final = 12
_LONGEST: Final = 200
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}")
_FORM: Final = re.compile(r"SCRAM-SHA-256\$([0-9]{4,7}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, repr=False)
class Verifier:
    """What a password is checked against. `known` is false for a name that no user has: no proof may pass then."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes
    known: bool = True

    def accepts(self, auth_message: bytes, proof: bytes) -> bool:
        """Whether a client's proof over the exchange's messages shows that it knows the password; constant time."""
        signature = hmac.digest(self.stored_key, auth_message, "sha256")
        key = bytes(a ^ b for a, b in zip(proof.ljust(32, b"\0"), signature, strict=False))
        same = hmac.compare_digest(hashlib.sha256(key).digest(), self.stored_key)
        return same and self.known and len(proof) == len(signature)

    def signature(self, auth_message: bytes) -> bytes:
        """What the server answers to an accepted proof, so that the client knows it too."""
        return hmac.digest(self.server_key, auth_message, "sha256")

    def __str__(self) -> str:
        salt, stored, server = (
            base64.b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"

    def __repr__(self) -> str:
        return "Verifier(***)"


def make_verifier(password: str) -> Verifier:
    """The verifier of a password of printable ASCII characters; DefinitionError for a weak or another one.

    Within ASCII the preparation that SCRAM asks for (SASLprep) changes nothing, so no client can differ in it.
    """
    if not all(" " <= character <= "~" for character in password):
        what = "A password is made of printable ASCII characters."
        raise DefinitionError(what, todo="Leave out accents, other scripts and control characters.")
    if not _SHORTEST <= len(password) <= _LONGEST:
        what = f"A password has {_SHORTEST} to {_LONGEST} characters, not {len(password)}."
        raise DefinitionError(what, todo="Take another, or let one be made.")
    return derived(password, secrets.token_bytes(_SALT_BYTES), ITERATIONS)


def derived(password: str, salt: bytes, iterations: int) -> Verifier:
    """The verifier that RFC 5802 derives from a password that needs no preparation."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    return Verifier(iterations, salt, hashlib.sha256(client).digest(), server)


def new_password() -> str:
    """A random password of 32 letters, digits, '-' and '_' (192 bits)."""
    return secrets.token_urlsafe(24)


def check_name(name: str) -> None:
    """DefinitionError for what can't be a user's name."""
    if not _NAME.fullmatch(name):
        todo = "Use 1 to 63 letters, digits, '_', '.', '@' and '-'."
        raise DefinitionError(f"{name!r} can't be a user's name.", todo=todo)


class Users:
    """The users in a file. It is read again whenever it has changed, so a removed user is refused at once."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist: there are no users then."""
        self.path = path
        self._held: tuple[tuple[int, int, int], bytes, dict[str, Verifier]] | None = None
        # Unknown names keep their salt even where there is no file yet.
        self._spare = secrets.token_bytes(32)

    def names(self) -> list[str]:
        """Every user's name, in order. Errors: ConfigError for a file that is broken or that others may read."""
        return sorted(self._read()[1])

    def verifier(self, name: str) -> Verifier:
        """The verifier of a user; for an unknown name one of equal form that accepts nothing (`known` is false)."""
        secret, held = self._read()
        salt, stored, server = (
            hmac.digest(secret, f"{part}:{name}".encode("utf-8", "surrogatepass"), "sha256")
            for part in ("salt", "stored", "server")
        )
        unknown = Verifier(ITERATIONS, salt[:_SALT_BYTES], stored, server, known=False)
        return held.get(name, unknown)

    def add(self, name: str, password: str | None = None) -> str:
        """Declare a user; gives the password, which is kept nowhere: a random one where none is given.

        Errors: DefinitionError for a bad or taken name or a weak password.
        """
        check_name(name)
        with self._changing() as held:
            if name in held:
                todo = f"Give a new password by `fleetcube user password {name}`."
                raise DefinitionError(f"There is a user '{name}' already.", todo=todo)
            chosen = new_password() if password is None else password
            held[name] = make_verifier(chosen)
        return chosen

    def set_password(self, name: str, password: str | None = None) -> str:
        """Give a user another password; gives it. Errors: DefinitionError as in `add`, and for an unknown user."""
        with self._changing() as held:
            self._require(name, held)
            chosen = new_password() if password is None else password
            held[name] = make_verifier(chosen)
        return chosen

    def remove(self, name: str) -> None:
        """Forget a user. Errors: DefinitionError for an unknown one."""
        with self._changing() as held:
            self._require(name, held)
            del held[name]

    def _require(self, name: str, held: dict[str, Verifier]) -> None:
        if name not in held:
            raise DefinitionError(f"There is no user '{name}'.", todo=did_you_mean(name, held))

    def _read(self) -> tuple[bytes, dict[str, Verifier]]:
        found = stamp(self.path, "users")
        if found is None:
            return self._spare, {}
        if self._held is None or self._held[0] != found:
            self._held = (found, *self._parsed())
        return self._held[1], self._held[2]

    def _parsed(self) -> tuple[bytes, dict[str, Verifier]]:
        try:
            document: Any = json.loads(self.path.read_text(encoding="utf-8"))
            secret = bytes.fromhex(document["secret"])
            return secret, {name: _verifier(text) for name, text in document["users"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"The file of users is no file of users: {type(error).__name__}."
            todo = "Restore it from a copy, or remove it and add the users again."
            raise ConfigError(what, where=str(self.path), todo=todo) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Verifier]]:
        """The users, to be changed; what stands at the end is written whole. One process at a time."""
        with changing(self.path):
            secret, found = self._read()
            held = dict(found)
            yield held
            users = {name: str(held[name]) for name in sorted(held)}
            write_private(self.path, json.dumps({"secret": secret.hex(), "users": users}, indent=1) + "\n")


def _verifier(text: str) -> Verifier:
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("not a verifier")
    salt, stored, server = (base64.b64decode(part, validate=True) for part in found.groups()[1:])
    if len(stored) != 32 or len(server) != 32:
        raise ValueError("not a verifier")
    return Verifier(int(found[1]), salt, stored, server)
