"""What a processor takes of electricity, where the machine tells it (RAPL of Linux)."""

from pathlib import Path

ZONES = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules that the processors have taken, all cores and whatever else runs on them included.

    Attributes:
        available: Whether the counters are there and may be read; on most machines by root only.
    """

    def __init__(self, zones: Path = ZONES):
        self._counters = sorted(zones.glob("intel-rapl:[0-9]*/energy_uj"))
        self._counters = [file for file in self._counters if file.parent.name.count(":") == 1]  # whole packages
        try:
            self._ranges = [int((file.parent / "max_energy_range_uj").read_text()) for file in self._counters]
            self._last = self._values()
        except (OSError, ValueError):
            self._counters = []
        self.available = bool(self._counters)

    def joules(self) -> float:
        """Since the last call, or since the meter was made; counters start again from zero at their largest value."""
        if not self.available:
            return 0.0
        values = self._values()
        taken = sum(
            (value - last) % (largest + 1)
            for value, last, largest in zip(values, self._last, self._ranges, strict=True)
        )
        self._last = values
        return taken / 1e6

    def _values(self) -> list[int]:
        return [int(file.read_text()) for file in self._counters]
