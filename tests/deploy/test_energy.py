"""Energy as Linux's counters tell it."""

import pytest

from mixtransfer.deploy.energy import EnergyMeter


def zone(folder, name, value, largest):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(f"{value}\n")
    (place / "max_energy_range_uj").write_text(f"{largest}\n")


def test_joules_of_all_packages_even_where_a_counter_starts_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", 1_000_000, 5_999_999)
    zone(tmp_path, "intel-rapl:1", 5_500_000, 5_999_999)
    zone(tmp_path, "intel-rapl:0:0", 1, 5_999_999)  # the cores, which are part of the package
    meter = EnergyMeter(tmp_path)
    assert meter.available
    zone(tmp_path, "intel-rapl:0", 3_000_000, 5_999_999)
    zone(tmp_path, "intel-rapl:1", 500_000, 5_999_999)
    zone(tmp_path, "intel-rapl:0:0", 900_000, 5_999_999)
    assert meter.joules() == pytest.approx(2 + 1)
    assert meter.joules() == 0


def test_no_counters_are_no_error(tmp_path):
    meter = EnergyMeter(tmp_path / "none")
    assert not meter.available and meter.joules() == 0
