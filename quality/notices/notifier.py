"""The notifier: puts notices into the outbox by the routes, and hands them to the channels until each took its own.

A channel that fails is told on standard error each time, tried again after a pause that doubles up to an hour, and
holds up no other channel. Delivery is at least once: a repeat, after a kill, carries the same id.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lake.errors import FleetcubeError
from lake.faults import faultpoint
from quality.notices import mail, webhook
from quality.notices.channels import Channel, Channels, LogChannel, WebhookChannel
from quality.notices.notice import Notice, clean
from quality.notices.outbox import Failing, Outbox

_LOG: Final = logging.getLogger(__name__)
# The channel of a lake without notices.yaml, and of what no route takes: nothing is told to nobody.
LOG: Final = "log"
_FIRST_S: Final = 5.0
_MOST_S: Final = 3600.0
Say = Callable[[str, Notice], None]


@dataclass(frozen=True)
class Notifier:
    """Notices of one lake over its channels. `say` writes a notice to the log: as text, json, or (empty) as usual.

    `broken` says why the channels are not known: then only the log is told, and what waits for others goes on waiting.
    """

    lake: Path
    channels: Channels
    say: Say
    broken: str = ""

    def keep(self, notice: Notice, number: int, place: int = 0) -> None:
        """Put a notice into the outbox for every channel that a route names; `place` orders those of one number."""
        for name in self.channels.ways(notice.kind, notice.severity) or [LOG]:
            if not self._outbox.put(name, number, notice, place):
                _LOG.error("The outbox of channel '%s' is full; it does not get: %s", name, notice.title)

    def forget_drafts(self, last: int) -> list[str]:
        """Take away what was kept for events that never came to be recorded: those above the newest number.

        Gives, in words, the files that can't be read and were put aside.
        """
        aside = [f"A file of the outbox is damaged, and put aside: {path}." for path in self._outbox.put_aside()]
        for text in aside:
            _LOG.error(text)
        self._outbox.drop_drafts(last)
        return aside

    def deliver(self, *, now_s: float | None = None) -> list[str]:
        """Hand over what waits; gives what failed, in words."""
        outbox, now = self._outbox, time.time() if now_s is None else now_s
        failing, failed = outbox.failing(), dict[str, str]()
        for one in outbox.waiting():
            if self.broken and one.channel != LOG:
                continue
            known = failing.get(one.channel)
            # A clock that was set back must not keep a channel waiting for longer than the longest pause.
            if one.channel in failed or (known is not None and now < known.next_s <= now + _MOST_S):
                continue
            why, is_taken = self.attempt(one.channel, one.notice)
            if why:
                times = known.failures + 1 if known is not None else 1
                pause = min(_FIRST_S * 2.0 ** min(times - 1, 20), _MOST_S)
                outbox.note(one.channel, Failing(times, why, now + pause))
                failed[one.channel] = why
                kept = "Others have it." if is_taken else "It is kept."
                _LOG.error("Channel '%s' did not take '%s': %s %s", one.channel, one.notice.title, why, kept)
            if is_taken:
                faultpoint("notices.sent.after")
                outbox.drop(one)
            if not why and known is not None:
                outbox.note(one.channel, None)
                failing.pop(one.channel)
        return [*self._unknown(), *(f"channel {name}: {why}" for name, why in sorted(failed.items()))]

    def attempt(self, name: str, notice: Notice) -> tuple[str, bool]:
        """Try a channel once; gives why it failed, or an empty text, and whether anybody has the notice."""
        channel: Channel | None = self.channels.channels.get(name)
        try:
            if channel is None and name != LOG:
                return "notices.yaml has no such channel any more.", False
            if channel is None or isinstance(channel, LogChannel):
                self.say("" if channel is None else channel.form or "", notice)
            elif isinstance(channel, WebhookChannel):
                webhook.post(name, channel, notice)
            else:
                mail.send(name, channel, notice)
        except mail.PartlyTaken as error:
            return clean(str(error)), True
        except FleetcubeError as error:
            # It may hold what a server answered.
            return clean(str(error)), False
        return "", True

    def troubles(self) -> Sequence[str]:
        """What waits, which channels fail, and which files are damaged, in words."""
        waiting: dict[str, int] = {}
        for one in self._outbox.waiting():
            waiting[one.channel] = waiting.get(one.channel, 0) + 1
        failing = self._outbox.failing()
        found = [
            f"channel {name}: {waiting.get(name, 0)} notices wait"
            + (f"; failed {failing[name].failures} times in a row: {failing[name].why}" if name in failing else "")
            for name in sorted({*waiting, *failing})
        ]
        todo = "its alert is in `fleetcube alerts list --all`; delete the file"
        damaged = [f"a file of the outbox is damaged: {path}: {todo}" for path in self._outbox.damaged()]
        return [*self._unknown(), *found, *damaged]

    def _unknown(self) -> list[str]:
        return [f"the channels can't be read, so the log alone is told: {self.broken}"] if self.broken else []

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.lake)
