"""Collectors against a recorded host and a stand-in for NVML; see tests/data/proc/README.md."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingestion.collectors import Collector, Sources, collect_all, open_collectors
from ingestion.collectors.deadline import Deadline
from ingestion.collectors.procfs import Increments
from ingestion.sample import Reading, number_text

DATA = Path(__file__).parents[1] / "data"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _statvfs(path: str) -> os.statvfs_result:
    if path == "/":
        return os.statvfs_result((4096, 4096, 1000, 400, 300, 100, 60, 50, 0, 255))
    assert path == "/mnt/cold store"  # the network file system is never asked
    return os.statvfs_result((512, 512, 2000, 0, 0, 10, 0, 0, 1, 255))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    shutil.copytree(DATA / "proc" / "first", tmp_path / "proc")
    return tmp_path / "proc"


@pytest.fixture
def host(proc: Path) -> dict[str, Collector]:
    collectors = open_collectors(Sources(proc, DATA / "proc" / "sys", _statvfs, _Nvml()))
    return {name: collector for name, collector in collectors.items() if name != "gpu"}


def _lines(readings: Iterable[Reading]) -> list[tuple[str, str, str, str, str]]:
    return [
        (reading.metric, reading.device, number_text(reading.value), reading.unit, " ".join(reading.labels.values()))
        for reading in readings
        if not reading.metric.startswith("agent.")
    ]


def _pass(collectors: dict[str, Collector]) -> list[Reading]:
    return list(collect_all(collectors, NOW, pytest.fail))


def test_a_recorded_host_gives_these_values(host: dict[str, Collector], proc: Path) -> None:
    first = {line[0] for line in _lines(_pass(host))}
    assert {"cpu.load.1m", "memory.usage", "filesystem.usage", "host.up", "disk.queue.depth"} <= first
    assert not first & {"cpu.utilization", "disk.read.bytes", "network.loss", "swap.in", "network.tcp.segments"}
    shutil.copytree(DATA / "proc" / "second", proc, dirs_exist_ok=True)
    with (DATA / "proc" / "expected.csv").open(encoding="utf-8", newline="") as file:
        expected = [tuple(row) for row in list(csv.reader(file))[1:]]
    assert _lines(_pass(host)) == expected


def test_each_collector_reports_on_itself(host: dict[str, Collector]) -> None:
    own = [reading for reading in _pass(host) if reading.metric.startswith("agent.")]
    assert [reading.labels["collector"] for reading in own[::3]] == ["cpu", "memory", "disk", "network", "host"]
    assert {reading.metric for reading in own} == {
        "agent.collector.success",
        "agent.scrape.duration",
        "agent.scrape.samples",
    }
    assert [reading.value for reading in own[::3]] == [1] * 5


def test_a_failing_collector_is_a_metric_and_no_crash(host: dict[str, Collector]) -> None:
    class Broken:
        def collect(self, now: datetime) -> Iterator[Reading]:
            yield Reading("host.up", 1, "1")
            raise OSError(5, "Input/output error")

    said: list[str] = []
    readings = collect_all({"broken": Broken(), "host": host["host"]}, NOW, said.append)
    assert said == ["Collector 'broken' failed: OSError: [Errno 5] Input/output error."]
    success = {r.labels["collector"]: r.value for r in readings if r.metric == "agent.collector.success"}
    assert success == {"broken": 0, "host": 1}
    assert readings[0] == Reading("host.up", 1, "1")  # what came before is kept


def test_a_host_without_pressure_files_and_tcp_table(host: dict[str, Collector], proc: Path) -> None:
    shutil.rmtree(proc / "pressure")
    (proc / "net" / "snmp").unlink()
    (proc / "sys" / "fs" / "file-nr").unlink()
    _pass(host)
    assert "cpu.pressure.waiting" not in {reading.metric for reading in _pass(host)}


def test_an_increment_after_a_reset_is_the_new_total() -> None:
    increments = Increments()
    totals = [5, 5, 8, 2, 2**64]
    assert [increments.step(("x",), total) for total in totals] == [None, 0, 3, 2, 2**64 - 2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads this host's /proc")
def test_this_host_can_be_read() -> None:
    collectors = open_collectors(Sources())
    collect_all(collectors, NOW, pytest.fail)
    readings = _pass(collectors)
    shares = [reading for reading in readings if reading.metric.endswith(".utilization")]
    assert all(0 <= reading.value <= 1 for reading in shares)
    assert all(reading.value >= 0 for reading in readings)
    assert len(readings) == len({(r.metric, r.device, *sorted(r.labels.items())) for r in readings})


def test_every_metric_and_unit_is_in_the_catalogue(host: dict[str, Collector]) -> None:
    from lake.catalogue import load_catalogue

    known = load_catalogue().metrics
    collectors = host | {"gpu": open_collectors(Sources(nvml=_Nvml()))["gpu"]}
    for _ in range(2):
        for reading in collect_all(collectors, NOW, lambda text: None):
            assert reading.metric in known
            assert reading.unit == known[reading.metric].unit, reading.metric


class _NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class _Nvml:
    """NVML's functions over tests/data/nvml/host.json; what a device does not list is not supported."""

    NVMLError = _NvmlError
    nvmlMemory_v2 = 2

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._devices = json.loads((DATA / "nvml" / "host.json").read_text())["devices"]
        self._turns: dict[tuple[int, str], int] = {}

    def nvmlInit(self) -> None:
        if self._start:
            raise _NvmlError(self._start)

    def nvmlDeviceGetCount(self) -> int:
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML_"):
            return name
        if name == "nvmlDeviceGetFanSpeed_v2":
            raise AttributeError(name)  # an older library
        return lambda handle, *arguments, **options: self._answer(handle, name, options)

    def _answer(self, handle: int, name: str, options: dict[str, Any]) -> Any:
        if name == "nvmlDeviceGetMemoryInfo" and options:
            raise _NvmlError(13)  # an older driver
        found = self._devices[handle].get(name, {"error": 3})
        if isinstance(found, dict) and "passes" in found:
            turn = self._turns.get((handle, name), 0)
            self._turns[handle, name] = turn + 1
            found = found["passes"][turn]
        if isinstance(found, dict) and "error" in found:
            raise _NvmlError(found["error"])
        return SimpleNamespace(**found) if isinstance(found, dict) else found


def test_gpus_give_these_values() -> None:
    gpu = open_collectors(Sources(nvml=_Nvml()))["gpu"]
    first = {(reading.device, reading.metric): reading for reading in gpu.collect(NOW)}
    values = {metric: (reading.value, reading.unit) for (device, metric), reading in first.items() if device == "gpu0"}
    assert values == {
        "gpu.utilization": (0.57, "1"),
        "gpu.memory.activity": (0.29, "1"),
        "gpu.temperature": (66, "Cel"),
        "gpu.power": (412.345, "W"),
        "gpu.power.limit": (700.0, "W"),
        "gpu.clock.sm": (1_980_000_000, "Hz"),
        "gpu.clock.memory": (1_980_000_000, "Hz"),
        "gpu.clock.sm.max": (1_980_000_000, "Hz"),
        "gpu.performance_state": (0, "1"),
        "gpu.process.count": (2, "{process}"),
        "gpu.throttle.reasons": (4, "1"),
        "gpu.mig.mode": (0, "1"),
        "gpu.ecc.mode": (1, "1"),
        "gpu.pcie.link.generation": (5, "1"),
        "gpu.pcie.link.width": (16, "{lane}"),
        "gpu.pcie.transmit.rate": (2_500_000, "By/s"),
        "gpu.pcie.receive.rate": (2_500_000, "By/s"),
        "gpu.rows.remap.pending": (0, "1"),
        "gpu.rows.remap.failure": (0, "1"),
        "gpu.memory.usage": (42_949_672_960, "By"),
        "gpu.memory.free": (42_000_000_000, "By"),
        "gpu.memory.limit": (85_899_345_920, "By"),
        "gpu.memory.utilization": (0.5, "1"),
    }
    assert first["gpu0", "gpu.power"].hardware == "NVIDIA H100 80GB HBM3"
    assert first["gpu0", "gpu.power"].labels == {"uuid": "GPU-1111"}
    assert {metric for device, metric in first if device == "gpu1"} == {"gpu.temperature", "gpu.mig.mode"}
    assert first["", "gpu.count"].value == 3


def test_gpu_counters_are_increments_and_a_lost_device_hides_no_other() -> None:
    collectors = {"gpu": open_collectors(Sources(nvml=_Nvml()))["gpu"]}
    collect_all(collectors, NOW, pytest.fail)
    said: list[str] = []
    for energy_j, replays, corrected in [(4123.456, 2, 1), (2.0, 0, 0)]:
        readings = {(r.device, r.metric): r.value for r in collect_all(collectors, NOW, said.append)}
        assert readings["gpu0", "gpu.energy"] == energy_j
        assert readings["gpu0", "gpu.pcie.replays"] == replays
        assert readings["gpu0", "gpu.ecc.corrected.volatile"] == corrected
        assert readings["gpu1", "gpu.temperature"] == 41
        assert readings["", "agent.collector.success"] == 0
    assert said == ["Collector 'gpu' failed: _NvmlError: NVML error 15."] * 2


@pytest.mark.parametrize("code", [9, 12])
def test_a_host_without_a_driver_has_no_gpus(code: int) -> None:
    gpu = open_collectors(Sources(nvml=_Nvml(start=code)))["gpu"]
    assert list(gpu.collect(NOW)) == []


def test_a_driver_that_fails_is_said() -> None:
    said: list[str] = []
    collect_all({"gpu": open_collectors(Sources(nvml=_Nvml(start=999)))["gpu"]}, NOW, said.append)
    assert said == ["Collector 'gpu' failed: _NvmlError: NVML error 999."]


def test_a_hanging_collector_stops_nothing_else(host: dict[str, Collector]) -> None:
    free = threading.Event()

    class Hanging:
        def collect(self, now: datetime) -> Iterator[Reading]:
            yield Reading("host.up", 1, "1")
            free.wait()

    collectors = {"gpu": Deadline(Hanging(), 0.05), "host": host["host"]}
    said: list[str] = []
    first, second = (collect_all(collectors, NOW, said.append) for _ in range(2))
    free.set()
    told = [message.partition("TimeoutError: ")[2] for message in said]
    assert told == ["no end within 0.05 s.", "its pass of 00:00:00 UTC has not come back."]
    assert first[0] == Reading("host.up", 1, "1")
    for readings in (first, second):
        success = {r.labels["collector"]: r.value for r in readings if r.metric == "agent.collector.success"}
        assert success == {"gpu": 0, "host": 1}
