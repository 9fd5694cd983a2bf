"""Refusals on record: each kind at once, a flood as a number."""

from __future__ import annotations

from pathlib import Path

from ingestion.told import Refusals
from lake.audit import Audit
from lake.audit_check import verify
from lake.audit_keep import events


def test_a_flood_is_a_few_lines_with_all_of_it_counted(tmp_path: Path) -> None:
    now = [0.0]
    told = Refusals(Audit(tmp_path), report=print, clock=lambda: now[0])
    for second in range(130):
        now[0] = float(second)
        for _ in range(10):
            told.add("10.0.0.1", 401, "")
        told.add("10.0.0.2", 403, "host-1")
    told.close()
    found = list(events(tmp_path))
    assert len(found) == 8
    for address, times in (("10.0.0.1", 1300), ("10.0.0.2", 130)):
        assert sum(event["detail"]["times"] for event in found if event["origin"] == address) == times
    assert {(event["who"], event["result"]) for event in found} == {("unknown", "401"), ("host-1", "403")}
    assert verify(tmp_path).holds


def test_addresses_without_number_are_held_in_bounds_and_none_is_lost(tmp_path: Path) -> None:
    told = Refusals(Audit(tmp_path), report=print, clock=lambda: 5.0)
    for number in range(3000):
        told.add(f"10.0.{number // 250}.{number % 250}", 401, "")
        told.add(f"10.0.{number // 250}.{number % 250}", 401, "")
    assert len(told._held) <= 1000
    told.close()
    assert sum(event["detail"]["times"] for event in events(tmp_path)) == 6000


def test_the_receiver_tells_of_a_refused_token_and_of_a_foreign_name(tmp_path: Path) -> None:
    import asyncio

    import httpx

    from ingestion.receive import Receiver

    told: list[tuple[str, int, str]] = []
    receiver = Receiver(
        tmp_path / "inbox", {"a": "x" * 20}, facts=["samples"], told=lambda *refusal: told.append(refusal)
    )

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(receiver.app, client=("10.1.2.3", 9))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            first = await client.post("/v1/push", headers={"Authorization": "Bearer wrong"})
            second = await client.post(
                "/v1/push",
                headers={"Authorization": f"Bearer {'x' * 20}", "Content-Encoding": "no-such"},
                content=b"x",
            )
            return [first.status_code, second.status_code]

    codes = asyncio.run(ask())
    receiver.close()
    assert codes[0] == 401
    assert told == [("10.1.2.3", 401, ""), ("10.1.2.3", codes[1], "a")]
    assert codes[1] >= 400


def test_a_log_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "_audit").write_text("in the way")
    said: list[str] = []
    told = Refusals(Audit(tmp_path), report=said.append)
    told.add("10.0.0.1", 401, "")
    told.close()
    assert "audit log can't be written" in said[0]
