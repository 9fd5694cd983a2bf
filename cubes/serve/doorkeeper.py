"""Who may come in: log-ins against the users file, failed ones slowed by address, every one told to the audit log.

A service that logged in may say for whom it asks (`lake.acting`): then that person is the user of the connection.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cubes.access import AccessFile, Policy
from cubes.serve.scram import Scram
from lake.acting import Keys, TokenError
from lake.errors import QueryError
from lake.users import Users

if TYPE_CHECKING:
    from lake.settings import Settings

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0
_ADDRESSES: Final = 10_000

# (operation, result, detail) of an event of a user at an address.
Tell = Callable[..., None]


@dataclass(frozen=True)
class Guest:
    """Whose a connection is: the user, and the service that asks for them with a token of that key, if one does."""

    user: str
    via: str = ""
    mark: str = ""


class Doorkeeper:
    """The users and policies of one server. Without any user declared everybody on loopback is let in."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        """`tell(operation, who=, origin=, result=, detail=)` writes the audit log."""
        self._users, self._access = Users(settings.users_file), AccessFile(settings.access_file)
        self._keys = Keys(settings.keys_file)
        self._tell = tell
        # Address -> failures in a row, and when its next proof is judged (time of the loop).
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def is_open(self) -> bool:
        """Whether no user is declared. Errors: ConfigError while the file is broken."""
        return not self._users.names()

    def exchange(self, user: str, binding: bytes) -> Scram:
        """The log-in of a user, known or not."""
        return Scram(self._users.verifier(user), binding)

    async def judge(self, scram: Scram, data: bytes, user: str, address: str) -> bytes:
        """The answer to a client's proof. Errors: QueryError 28P01, later with each failure from that address."""
        answer = scram.final(data)
        # Connections side by side wait one behind the other, a right password among wrong ones too.
        wait_s = self._wait_s(address, failed=answer is None)
        if answer is None:
            await asyncio.to_thread(self._tell, "login.failed", who=user, origin=address, result="refused")
        await asyncio.sleep(wait_s)
        if answer is None:
            raise QueryError(f'password authentication failed for user "{user}"', code="28P01")
        self._failed.pop(address, None)
        return answer

    async def guest(self, service: str, token: str, address: str) -> Guest:
        """For whom a service asks that has logged in. Errors: QueryError 28000, later with each failure."""
        try:
            acted = self._keys.read(service, token)
            self._check_may_act(service, acted.person)
        except TokenError as error:
            # Who is named under a right signature waits alone: one person's trouble must not slow a dashboard's others.
            wait_s = self._wait_s(f"{address} {service} {error.person}", failed=True)
            detail = {"act_for": error.person, "why": f"the token {error.what}"}
            told = {"who": service, "origin": address, "result": "refused", "detail": detail}
            await asyncio.to_thread(self._tell, "login.failed", **told)
            await asyncio.sleep(wait_s)
            raise QueryError(f"fleetcube.act_for: the token {error.what}", todo=error.todo, code="28000") from error
        self._failed.pop(f"{address} {service} {acted.person}", None)
        detail = {"token": acted.nonce}
        await asyncio.to_thread(self._tell, "login.act_for", acted.person, who=service, origin=address, detail=detail)
        return Guest(acted.person, service, acted.mark)

    def _check_may_act(self, service: str, person: str) -> None:
        access = self._access.now()
        if access.may_act(service, person):
            return
        if "act_for" not in access.policy(service).may:
            what = f"can't be used: '{service}' may not act for users"
            raise TokenError(what, todo=f"Run `fleetcube user grant {service} service`.", person=person)
        if person not in access.users:
            what = f"names '{person}', who has no role here"
            raise TokenError(
                what, todo=f"Run `fleetcube user add '{person}' --no-password --role ROLE`.", person=person
            )
        what = f"names '{person}', for whom '{service}' may not act"
        raise TokenError(what, todo="See act_for in the roles of the access file.", person=person)

    def _wait_s(self, whose: str, *, failed: bool) -> float:
        """Seconds that an answer is held back, longer with each failure in a row."""
        now = asyncio.get_running_loop().time()
        failures, at = self._failed.get(whose, (0, 0.0))
        wait_s = max(0.0, at - now)
        if failed:
            wait_s += min(_FIRST_S * 2**failures, _LONGEST_S)
            self._failed[whose] = (min(failures + 1, 30), now + wait_s)
            self._failed.move_to_end(whose)
            while len(self._failed) > _ADDRESSES:
                self._failed.popitem(last=False)
        return min(wait_s, 2 * _LONGEST_S)

    async def welcome(self, guest: Guest, address: str, *, secure: bool) -> None:
        """Note a log-in; the client is let in once that is written."""
        told = {"who": guest.user, "via": guest.via, "origin": address, "detail": {"tls": secure}}
        await asyncio.to_thread(self._tell, "login", **told)

    def farewell(self, guest: Guest, address: str) -> None:
        """Note the end of a connection."""
        self._tell("logout", who=guest.user, via=guest.via, origin=address, durable=False)

    def policy(self, guest: Guest, *, known: bool) -> Policy | None:
        """What the user may read now; None where nobody logs in. Errors: QueryError 28000 for one who was removed."""
        names: Any = self._users.names()
        if not names and not known:
            return None
        name = guest.via or guest.user
        if name not in names:
            what = f'user "{name}" is no longer declared' if known else "this server wants a password now"
            raise QueryError(what, todo="Connect again.", code="28000")
        if guest.via:
            self._check_still(guest)
        return self._access.policy(guest.user)

    def _check_still(self, guest: Guest) -> None:
        if not self._keys.has(guest.via, guest.mark):
            what = f'the key by which "{guest.via}" asked for "{guest.user}" has ended'
            raise QueryError(what, todo="Connect again with a token of the newest key.", code="28000")
        if not self._access.now().may_act(guest.via, guest.user):
            what = f'"{guest.via}" may no longer act for "{guest.user}"'
            raise QueryError(what, todo="Ask who keeps the access file.", code="28000")
