"""Who may come in: log-ins against the users file, failed ones slowed by address, every one told to the audit log."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cubes.access import AccessFile, Policy
from cubes.serve.scram import Scram
from lake.errors import QueryError
from lake.users import Users

if TYPE_CHECKING:
    from lake.settings import Settings

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0
_ADDRESSES: Final = 10_000

# (operation, result, detail) of an event of a user at an address.
Tell = Callable[..., None]


class Doorkeeper:
    """The users and policies of one server. Without any user declared everybody on loopback is let in."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        """`tell(operation, who=, origin=, result=, detail=)` writes the audit log."""
        self._users, self._access = Users(settings.users_file), AccessFile(settings.access_file)
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
        loop = asyncio.get_running_loop()
        failures, at = self._failed.get(address, (0, 0.0))
        answer = scram.final(data)
        wait = max(0.0, at - loop.time())
        if answer is None:
            wait += min(_FIRST_S * 2**failures, _LONGEST_S)
            self._failed[address] = (min(failures + 1, 30), loop.time() + wait)
            self._failed.move_to_end(address)
            while len(self._failed) > _ADDRESSES:
                self._failed.popitem(last=False)
            await asyncio.to_thread(self._tell, "login.failed", who=user, origin=address, result="refused")
        # Connections side by side wait one behind the other, a right password among wrong ones too.
        await asyncio.sleep(min(wait, 2 * _LONGEST_S))
        if answer is None:
            raise QueryError(f'password authentication failed for user "{user}"', code="28P01")
        self._failed.pop(address, None)
        return answer

    async def welcome(self, user: str, address: str, *, secure: bool) -> None:
        """Note a log-in; the client is let in once that is written."""
        await asyncio.to_thread(self._tell, "login", who=user, origin=address, detail={"tls": secure})

    def farewell(self, user: str, address: str) -> None:
        """Note the end of a connection."""
        self._tell("logout", who=user, origin=address, durable=False)

    def policy(self, user: str, *, known: bool) -> Policy | None:
        """What the user may read now; None where nobody logs in. Errors: QueryError 28000 for one who was removed."""
        names: Any = self._users.names()
        if not names and not known:
            return None
        if user not in names:
            what = f'user "{user}" is no longer declared' if known else "this server wants a password now"
            raise QueryError(what, todo="Connect again.", code="28000")
        return self._access.policy(user)
