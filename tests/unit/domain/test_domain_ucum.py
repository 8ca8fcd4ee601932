"""Units: valid if UCUM's examples and validator accept them, else invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import ucum

UNITS = """
Cel % ms lx mV K m/s2 m.s-2 kg kPa hPa [degF] Ohm kOhm deg rad/s /min {turns}/min 1/min 10*3/uL 10^3 m2 m3/h l/min
kW.h [ppm] dB B[W] Hz mm[Hg] m[H2O] [in_i'Hg] ug/m3 {count} m{wet} (m/s)/d kg.m/s2 min h d a wk By KiBy bit/s
[mi_i]/h [psi] lm cd J/(kg.K) 10.m uSv/h mol/l [pH] W/m2 %{humidity} g% ' '' [m/s2/Hz^0.5] dar
"""
NONE = """
°C C° celsius percent sec volts dBm kmin k% m//s m/ .m m. () (m m) m^2 m2. 0 01 m0 { } {a {a}{b}x [ [] [nope] Ce CEL
SM é m/(s kg.m.s-2.A-1.K-1 M //m
"""


@pytest.mark.parametrize("unit", UNITS.split())
def test_ucum_accepts_a_unit(unit: str) -> None:
    assert ucum.is_unit(unit)


@pytest.mark.parametrize("unit", [*NONE.split(), "", "m s", "\x1b", "m\n", "{a\tb}"])
def test_ucum_refuses_invalid_unit(unit: str) -> None:
    assert not ucum.is_unit(unit)


@given(st.text(st.sampled_from("mskCelg/.()[]{}10*^'%-+\0"), max_size=16))
def test_ucum_answers_for_any_text(text: str) -> None:
    assert ucum.is_unit(text) in (True, False)
