"""Acting for a user: keys of services such as Superset, and the signed names of persons that they hand over.

A service logs in as itself and says by a token for whom it asks: `fc1.<name>.<expires>.<nonce>.<mac>`, with the
person's name in base64url, Unix seconds, 32 and 64 hexadecimal digits; the last are HMAC-SHA256, under the service's
key, of all that stands before the last dot. Who holds a service's key speaks for everybody whom it may act
for. Keys lie in one file for a lake beside that of the users, mode 0600. Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from lake.errors import ConfigError, DefinitionError, FleetcubeError
from lake.private import changing, stamp, write_private

LONGEST_S: Final = 300
SKEW_S: Final = 30
_LONGEST: Final = 400
_FORM: Final = re.compile(r"(fc1\.([A-Za-z0-9_-]{2,84})\.([0-9]{10})\.([0-9a-f]{32}))\.([0-9a-f]{64})", re.ASCII)


class TokenError(FleetcubeError):
    """A token that says nothing: `person` is whom it names under a right signature, else empty."""

    def __init__(self, what: str, *, todo: str, person: str = "") -> None:
        """Why, and what to do."""
        super().__init__(what, todo=todo)
        self.person = person


@dataclass(frozen=True)
class Key:
    """A service's key; `until` (Unix seconds) is when an old one ends, 0 for the newest."""

    text: str = field(repr=False)
    until: float = 0

    @property
    def mark(self) -> str:
        """What tells the key from others, and nothing of it."""
        return hashlib.sha256(f"mark of {self.text}".encode()).hexdigest()[:16]

    def holds(self, now: float) -> bool:
        """Whether it is still taken."""
        return not self.until or now < self.until


@dataclass(frozen=True)
class Acted:
    """A token that was found good: the person, its nonce, and the mark of the key that signed it."""

    person: str
    nonce: str
    mark: str


class Keys:
    """The keys of services in a file, read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        """`path` need not exist: no service has a key then."""
        self.path = path
        self._held: tuple[tuple[int, int, int], dict[str, list[Key]]] | None = None

    def make(self, service: str, *, grace_s: int) -> str:
        """Give a service a new key; gives it. The one before it is taken for `grace_s` more seconds."""
        made = Key(secrets.token_urlsafe(32))
        now = time.time()
        with changing(self.path):
            held = dict(self._read())
            # Of older ones none: each rotation ends all but the one that it replaces.
            old = [Key(one.text, now + grace_s) for one in held.get(service, []) if not one.until and grace_s]
            self._write({**held, service: [made, *old]})
        return made.text

    def drop(self, service: str) -> bool:
        """Take a service's keys away; gives whether it had any."""
        with changing(self.path):
            held = dict(self._read())
            found = held.pop(service, None)
            if found is not None:
                self._write(held)
        return found is not None

    def has(self, service: str, mark: str, *, now: float | None = None) -> bool:
        """Whether the key of that mark is still taken from the service."""
        at = time.time() if now is None else now
        return any(one.mark == mark and one.holds(at) for one in self._read().get(service, []))

    def read(self, service: str, token: str, *, now: float | None = None) -> Acted:
        """Whom a service's token names. Errors: TokenError, which says what to do; ConfigError for a broken file."""
        at = time.time() if now is None else now
        found = _FORM.fullmatch(token) if len(token) <= _LONGEST else None
        if found is None:
            raise TokenError("is no token", todo="Send fc1.<name>.<expires>.<nonce>.<mac>; docs/access.md has a maker.")
        keys = [one for one in self._read().get(service, []) if one.holds(at)]
        signed, name, expires, nonce, mac = found.groups()
        # Every key is tried, so that the time taken tells nothing of which one it was.
        right = [one for one in keys if hmac.compare_digest(_mac(one, signed), mac)]
        if not right:
            todo = f"Make it with the newest key: `fleetcube user key {service} --to FILE`."
            raise TokenError(f"was not signed with a key of '{service}'", todo=todo)
        person = _name(name)
        if int(expires) <= at - SKEW_S:
            raise TokenError("has expired", todo="Make a new token for each connection.", person=person)
        if int(expires) > at + LONGEST_S + SKEW_S:
            todo = f"Let it expire within {LONGEST_S} s, and compare the clocks of both hosts."
            raise TokenError("would hold too long", todo=todo, person=person)
        return Acted(person, nonce, right[0].mark)

    def _read(self) -> dict[str, list[Key]]:
        found = stamp(self.path, "keys")
        if found is None:
            return {}
        if self._held is None or self._held[0] != found:
            try:
                document = json.loads(self.path.read_text(encoding="utf-8"))
                keys = {
                    name: [Key(str(one["text"]), float(one["until"])) for one in of] for name, of in document.items()
                }
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                what = f"The file of keys can't be read: {type(error).__name__}."
                todo = "Remove it, and make the keys again by `fleetcube user key`."
                raise ConfigError(what, where=str(self.path), todo=todo) from error
            self._held = (found, keys)
        return self._held[1]

    def _write(self, held: dict[str, list[Key]]) -> None:
        listed = {name: [asdict(one) for one in held[name]] for name in sorted(held)}
        write_private(self.path, json.dumps(listed, indent=1) + "\n")


def write_key(path: Path, key: str) -> None:
    """Put a key into a file of its own, mode 0600. Errors: DefinitionError where it can't be written."""
    try:
        write_private(path, f"{key}\n")
    except OSError as error:
        todo = "Name a file in a folder that exists."
        raise DefinitionError(f"The key can't be written: {error.strerror}.", where=str(path), todo=todo) from error


def _mac(key: Key, signed: str) -> str:
    return hmac.digest(key.text.encode(), signed.encode(), "sha256").hex()


def _name(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise TokenError("names nobody", todo="Write the name as base64url of its UTF-8, without padding.") from error
