"""Alerts come back from their table as they were put in, and of two writers of a number one fails."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake.alerts import Alert, last_number, read_alerts, record_alert, record_numbered
from lake.duck import Duck
from lake.errors import LakeError
from lake.settings import Settings

AT = datetime(2026, 11, 30, 1, 2, 3, 456789, tzinfo=UTC)


def test_events_and_states_come_back(settings: Settings, duck: Duck) -> None:
    assert read_alerts(duck, settings.lake) == []
    assert last_number(settings.lake) == 0
    record_alert(duck, settings.lake, Alert("selfaudit", "critical", "cube/x", 'it\'s "wrong"', data={"sql": "'"}))
    states = [
        Alert("gate", "warning", "fact/samples", "näh\n", "raised", {"number": number, "rows": 7, "told": True}, AT)
        for number in (1, 2)
    ]
    record_numbered(duck, settings.lake, states, last=2)
    event, *rest = read_alerts(duck, settings.lake)
    assert (event.kind, event.text, event.data, event.number) == ("selfaudit", 'it\'s "wrong"', {"sql": "'"}, 0)
    assert rest == states
    assert last_number(settings.lake) == 2
    with pytest.raises(LakeError):
        record_numbered(duck, settings.lake, states, last=2)
