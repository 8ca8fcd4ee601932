"""Recognises units of UCUM, the Unified Code for Units of Measure, in its case-sensitive form.

Pure. Owns the grammar (UCUM 2.1, sections 2.1 to 2.5) and the table of unit atoms. Does not convert. Source:
https://ucum.org/ucum, table of all units.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_BYTES = 15
"""Length of a unit, bounded for the tables of devices."""

_PREFIXES = """
Y Z E P T G M k h da d c m u n p f a z y Ki Mi Gi Ti
"""
_METRIC = """
m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc [c] [h] [k] [eps_0]
[mu_0] [e] [m_e] [m_p] [G] [g] [ly] gf Ky Gal dyn erg P Bi St Mx G Oe Gb sb Lmb ph Ci R RAD REM cal_[15] cal_[20]
cal_m cal_IT cal_th cal tex m[H2O] m[Hg] [iU] [IU] g% eq osm kat U Np B B[SPL] B[V] B[mV] B[uV] B[10.nV] B[W] B[kW]
st mho bit By Bd
"""
"""Atoms that take a prefix."""
_OTHER = """
10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] gon deg ' '' min h d a_t a_j a_g a wk mo_s mo_j mo_g mo AU [lbf_av] [in_i]
[ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i] [cyd_i] [bf_i] [cr_i] [mil_i]
[cml_i] [hd_i] [ft_us] [yd_us] [in_us] [rd_us] [ch_us] [lk_us] [rch_us] [rlk_us] [fth_us] [fur_us] [mi_us] [acr_us]
[srd_us] [smi_us] [sct] [twp] [mil_us] [in_br] [ft_br] [rd_br] [ch_br] [lk_br] [fth_br] [pc_br] [yd_br] [mi_br]
[nmi_br] [kn_br] [acr_br] [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us] [crd_us] [bu_us]
[gal_wi] [pk_us] [dqt_us] [dpt_us] [tbs_us] [tsp_us] [cup_us] [foz_m] [cup_m] [tsp_m] [tbs_m] [gal_br] [pk_br]
[bu_br] [qt_br] [pt_br] [gil_br] [foz_br] [fdr_br] [min_br] [gr] [lb_av] [oz_av] [dr_av] [scwt_av] [lcwt_av]
[ston_av] [lton_av] [stone_av] [pwt_tr] [oz_tr] [lb_tr] [sc_ap] [dr_ap] [oz_ap] [lb_ap] [oz_m] [lne] [pnt] [pca]
[pnt_pr] [pca_pr] [pied] [pouce] [ligne] [didot] [cicero] [degF] [degR] [degRe] [Cal] [Btu_39] [Btu_59] [Btu_60]
[Btu_m] [Btu_IT] [Btu_th] [Btu] [HP] [den] [in_i'H2O] [in_i'Hg] [PRU] [wood'U] [diop] [p'diop] %[slope] [mesh_i]
[Ch] [drp] [hnsf'U] [MET] [S] [HPF] [LPF] [pH] [psi] circ sph [car_m] [car_Au] [smoot] [m/s2/Hz^0.5] bit_s Ao b att
[arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U] [bdsk'U] [ka'U] [knk'U]
[mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [IR] [BAU] [AU] [Amb'a'1'U] [PNU] [Lf] [D'ag'U] [FEU]
[ELU] [EU]
"""
"""Atoms that take no prefix."""


def _atoms() -> frozenset[str]:
    metric = _METRIC.split()
    return frozenset(_OTHER.split() + metric + [prefix + atom for prefix in _PREFIXES.split() for atom in metric])


_ATOMS = _atoms()
_COMPONENT = re.compile(r"(?P<factor>[1-9][0-9]*)$|(?P<atom>.+?)(?P<exponent>[+-]?[1-9][0-9]*)?$")
_ANNOTATION = re.compile(r"\{[!-z|~]*\}")
_SPLIT = re.compile(r"\[[^\[\]]*\]|[./()]|[^./()\[\]]+")


@lru_cache(maxsize=1024)
def is_unit(text: str) -> bool:
    """Return whether `text` is a unit of at most MAX_BYTES bytes, such as `Cel`, `m/s2`, `%` or `{turns}/min`; "" is
    not.
    """
    if not 0 < len(text) <= MAX_BYTES or not text.isascii():
        return False
    plain = _ANNOTATION.sub("\0", text)
    if "{" in plain or "}" in plain:
        return False
    return _is_term(plain.removeprefix("/"))


def _is_term(text: str) -> bool:
    """Return whether the text is components joined by `.` and `/`, possibly nested in parentheses."""
    depth, component, components = 0, "", []
    for part in _SPLIT.findall(text):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if depth < 0:
            return False
        if part in "./" and depth == 0:
            components.append(component)
            component = ""
        else:
            component += part
    components.append(component)
    return depth == 0 and all(map(_is_component, components))


def _is_component(text: str) -> bool:
    if text.startswith("(") and text.endswith(")"):
        return _is_term(text[1:-1])
    annotated = text.endswith("\0")
    unit = text.removesuffix("\0")
    if not unit:
        return annotated
    found = _COMPONENT.fullmatch(unit)
    return found is not None and (found["factor"] is not None or unit in _ATOMS or found["atom"] in _ATOMS)
