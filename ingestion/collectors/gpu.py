"""NVIDIA devices through NVML: load, memory, power, energy, temperature, clocks, errors, throttling, PCIe.

Every call stands alone: what a board, a driver or a MIG device does not support is left out, and the rest is read.
`nvidia-ml-py` is imported at the first pass; a host without it, or without a driver, has no devices and is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from ingestion.collectors import Sources
from ingestion.collectors.procfs import Increments
from ingestion.sample import Reading

# How NVML says that there is nothing to read here: uninitialized, not supported, no permission, not found,
# driver not loaded, library not found, function not found.
_ABSENT_CODES = frozenset({1, 3, 4, 6, 9, 12, 13})
_NO_DRIVER_CODES = frozenset({9, 12})

# (metric, unit, divisor, factor, call on the module and a device's handle)
_GAUGES: tuple[tuple[str, str, int, int, Callable[[Any, Any], float]], ...] = (
    ("gpu.utilization", "1", 100, 1, lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu),
    ("gpu.memory.activity", "1", 100, 1, lambda n, h: n.nvmlDeviceGetUtilizationRates(h).memory),
    ("gpu.encoder.utilization", "1", 100, 1, lambda n, h: n.nvmlDeviceGetEncoderUtilization(h)[0]),
    ("gpu.decoder.utilization", "1", 100, 1, lambda n, h: n.nvmlDeviceGetDecoderUtilization(h)[0]),
    ("gpu.temperature", "Cel", 1, 1, lambda n, h: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU)),
    ("gpu.power", "W", 1000, 1, lambda n, h: n.nvmlDeviceGetPowerUsage(h)),
    ("gpu.power.limit", "W", 1000, 1, lambda n, h: n.nvmlDeviceGetEnforcedPowerLimit(h)),
    ("gpu.clock.sm", "Hz", 1, 1_000_000, lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM)),
    ("gpu.clock.memory", "Hz", 1, 1_000_000, lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM)),
    ("gpu.clock.sm.max", "Hz", 1, 1_000_000, lambda n, h: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM)),
    ("gpu.fan.speed", "1", 100, 1, lambda n, h: n.nvmlDeviceGetFanSpeed_v2(h, 0)),
    ("gpu.performance_state", "1", 1, 1, lambda n, h: n.nvmlDeviceGetPerformanceState(h)),
    ("gpu.process.count", "{process}", 1, 1, lambda n, h: len(n.nvmlDeviceGetComputeRunningProcesses_v3(h))),
    ("gpu.throttle.reasons", "1", 1, 1, lambda n, h: _throttle_reasons(n, h)),
    ("gpu.mig.mode", "1", 1, 1, lambda n, h: n.nvmlDeviceGetMigMode(h)[0]),
    ("gpu.ecc.mode", "1", 1, 1, lambda n, h: n.nvmlDeviceGetEccMode(h)[0]),
    ("gpu.pcie.link.generation", "1", 1, 1, lambda n, h: n.nvmlDeviceGetCurrPcieLinkGeneration(h)),
    ("gpu.pcie.link.width", "{lane}", 1, 1, lambda n, h: n.nvmlDeviceGetCurrPcieLinkWidth(h)),
    ("gpu.pcie.transmit.rate", "By/s", 1, 1000, lambda n, h: _pcie(n, h, n.NVML_PCIE_UTIL_TX_BYTES)),
    ("gpu.pcie.receive.rate", "By/s", 1, 1000, lambda n, h: _pcie(n, h, n.NVML_PCIE_UTIL_RX_BYTES)),
    ("gpu.rows.remap.pending", "1", 1, 1, lambda n, h: n.nvmlDeviceGetRemappedRows(h)[2]),
    ("gpu.rows.remap.failure", "1", 1, 1, lambda n, h: n.nvmlDeviceGetRemappedRows(h)[3]),
)
_COUNTERS: tuple[tuple[str, str, int, Callable[[Any, Any], int]], ...] = (
    ("gpu.energy", "J", 1000, lambda n, h: n.nvmlDeviceGetTotalEnergyConsumption(h)),
    ("gpu.pcie.replays", "{event}", 1, lambda n, h: n.nvmlDeviceGetPcieReplayCounter(h)),
    ("gpu.ecc.corrected.volatile", "{error}", 1, lambda n, h: _ecc(n, h, n.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
    ("gpu.ecc.uncorrected.volatile", "{error}", 1, lambda n, h: _ecc(n, h, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
    ("gpu.rows.remapped.corrected", "{row}", 1, lambda n, h: n.nvmlDeviceGetRemappedRows(h)[0]),
    ("gpu.rows.remapped.uncorrected", "{row}", 1, lambda n, h: n.nvmlDeviceGetRemappedRows(h)[1]),
)
_UNKNOWN_STATE = {"gpu.performance_state": 32}


class GpuCollector:
    """One device is 'gpu<index>', with its UUID as a label and the product's name as its hardware."""

    def __init__(self, sources: Sources) -> None:
        """Use `sources.nvml`, anything with NVML's functions; None imports the real one."""
        self._nvml = sources.nvml
        self._started = False
        self._increments = Increments()

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        if not self._start():
            return
        count = self._nvml.nvmlDeviceGetCount()
        yield Reading("gpu.count", count, "{gpu}")
        trouble: Exception | None = None
        for index in range(count):
            try:
                handle = self._ask(lambda n, h: n.nvmlDeviceGetHandleByIndex(h), index)
                if handle is not None:
                    yield from self._device(index, handle)
            except self._nvml.NVMLError as error:
                trouble = error  # one lost device; the others are still read
        if trouble is not None:
            raise trouble

    def _start(self) -> bool:
        """Whether NVML answers; a driver that is loaded later is found at a later pass."""
        if self._started:
            return True
        try:
            if self._nvml is None:
                import pynvml

                self._nvml = pynvml
        except ImportError:
            return False
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            if error.value in _NO_DRIVER_CODES:
                return False
            raise
        self._started = True
        return True

    def _ask(self, call: Callable[[Any, Any], Any], argument: Any) -> Any:
        """What `call` answers, or None where this device or driver has no answer; other errors are raised."""
        try:
            return call(self._nvml, argument)
        except self._nvml.NVMLError as error:
            if error.value in _ABSENT_CODES:
                return None
            raise
        except AttributeError:  # an older nvidia-ml-py than the call
            return None

    def _device(self, index: int, handle: Any) -> Iterator[Reading]:
        device = f"gpu{index}"
        uuid = _text(self._ask(lambda n, h: n.nvmlDeviceGetUUID(h), handle))
        hardware = _text(self._ask(lambda n, h: n.nvmlDeviceGetName(h), handle))
        labels = {"uuid": uuid} if uuid else {}
        for metric, unit, value in self._values(uuid or device, handle):
            yield Reading(metric, value, unit, device, hardware, labels)

    def _values(self, key: str, handle: Any) -> Iterator[tuple[str, str, float]]:
        for metric, unit, divisor, factor, call in _GAUGES:
            value = self._ask(call, handle)
            if value is not None and value != _UNKNOWN_STATE.get(metric):
                yield metric, unit, value / divisor if divisor > 1 else value * factor
        memory = self._ask(_memory, handle)
        if memory is not None:
            yield "gpu.memory.usage", "By", memory.used
            yield "gpu.memory.free", "By", memory.free
            yield "gpu.memory.limit", "By", memory.total
            yield "gpu.memory.utilization", "1", round(memory.used / memory.total, 9)
        for metric, unit, divisor, total_of in _COUNTERS:
            total = self._ask(total_of, handle)
            step = None if total is None else self._increments.step((key, metric), total)
            if step is not None:
                yield metric, unit, step / divisor if divisor > 1 else step


def _memory(nvml: Any, handle: Any) -> Any:
    """The second version tells the driver's own share apart from memory in use; older drivers have only the first."""
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _throttle_reasons(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:  # a driver that still has the old name
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _pcie(nvml: Any, handle: Any, counter: Any) -> int:
    return int(nvml.nvmlDeviceGetPcieThroughput(handle, counter))


def _ecc(nvml: Any, handle: Any, kind: Any) -> int:
    return int(nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC))


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
