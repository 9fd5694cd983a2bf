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
from quality.notices.notice import Notice
from quality.notices.outbox import Failing, Outbox

_LOG: Final = logging.getLogger(__name__)
# The channel of a lake without notices.yaml, and of what no route takes: nothing is told to nobody.
LOG: Final = "log"
_FIRST_S: Final = 5.0
_MOST_S: Final = 3600.0
Say = Callable[[str, Notice], None]


@dataclass(frozen=True)
class Notifier:
    """Notices of one lake over its channels. `say` writes a notice to the log: as text, json, or (empty) as usual."""

    lake: Path
    channels: Channels
    say: Say

    def keep(self, notice: Notice, number: int, place: int = 0) -> None:
        """Put a notice into the outbox for every channel that a route names; `place` orders those of one number."""
        for name in self.channels.ways(notice.kind, notice.severity) or [LOG]:
            if not self._outbox.put(name, number, notice, place):
                _LOG.error("The outbox of channel '%s' is full; it does not get: %s", name, notice.title)

    def forget_drafts(self, last: int) -> None:
        """Take away what was kept for events that never came to be recorded: those above the newest number."""
        self._outbox.drop_drafts(last)

    def deliver(self, *, now_s: float | None = None) -> list[str]:
        """Hand over what waits; gives what failed, in words."""
        outbox, now = self._outbox, time.time() if now_s is None else now_s
        failing, failed = outbox.failing(), dict[str, str]()
        for one in outbox.waiting():
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
        return [f"channel {name}: {why}" for name, why in sorted(failed.items())]

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
            return str(error), True
        except FleetcubeError as error:
            return str(error), False
        return "", True

    def troubles(self) -> Sequence[str]:
        """What waits and which channels fail, in words."""
        waiting: dict[str, int] = {}
        for one in self._outbox.waiting():
            waiting[one.channel] = waiting.get(one.channel, 0) + 1
        failing = self._outbox.failing()
        return [
            f"channel {name}: {waiting.get(name, 0)} notices wait"
            + (f"; failed {failing[name].failures} times in a row: {failing[name].why}" if name in failing else "")
            for name in sorted({*waiting, *failing})
        ]

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self.lake)
