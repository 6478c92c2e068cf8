"""Whether a passport gets its holder into the city: a few rules that are sure, else “unknown”.

`data/visa_rules.csv` is a guide of June 2025, for short visits with an ordinary passport. What it
does not name is not guessed. Status: `free`, `authorisation` (asked for online before travel),
`on_arrival`, `required`. `without_visa` tells what is left to those who have nothing of it: transit
`airside`, `none` at all, or `unknown`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from apps.flights.ground import SCHENGEN

AS_OF: Final = "2025-06"
ADVICE: Final = "Indicative. Ask the embassy, and the airline, before you rely on it."

FREE: Final = "free"
AUTHORISATION: Final = "authorisation"
ON_ARRIVAL: Final = "on_arrival"
REQUIRED: Final = "required"
UNKNOWN: Final = "unknown"
NO_BORDER: Final = "no_border"
OWN_COUNTRY: Final = "own_country"
STATUSES: Final = (FREE, AUTHORISATION, ON_ARRIVAL, REQUIRED, UNKNOWN, NO_BORDER, OWN_COUNTRY)

AIRSIDE: Final = "airside"
NONE: Final = "none"

# Countries whose nationals move freely among them: EU, EEA and Switzerland.
EUROPE: Final = SCHENGEN | {"CY", "IE"}
_GROUPS: Final = {"SCHENGEN": SCHENGEN, "EUROPE": EUROPE}

# Officially assigned codes of ISO 3166-1, and XK, which Kosovo's passports have.
_COUNTRIES: Final = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
COUNTRIES: Final = frozenset(_COUNTRIES.split())


@dataclass(frozen=True, slots=True)
class VisaHint:
    """What a passport needs to leave the airport, as far as is known."""

    status: str
    without_visa: str = ""
    note: str = ""

    @property
    def is_known(self) -> bool:
        return self.status != UNKNOWN

    def enters_city(self, *, held: bool) -> bool:
        """Return whether a plan in town makes sense; `held` says that the visa is there.

        What is not known is no obstacle, only a doubt: an authorisation can be had in time.
        """
        return self.status != REQUIRED or held

    def connects(self, *, held: bool) -> bool:
        """Return whether the traveller may change flights at all."""
        return self.status != REQUIRED or held or self.without_visa != NONE

    def document(self) -> dict[str, Any]:
        return {
            "requirement": self.status,
            "without_visa": self.without_visa or None,
            "note": self.note,
            "as_of": AS_OF,
            "advice": ADVICE,
        }


@cache
def _rules() -> Mapping[tuple[str, str], VisaHint]:
    text = (resources.files("apps.layovers") / "data/visa_rules.csv").read_text(encoding="utf-8")
    rules: dict[tuple[str, str], VisaHint] = {}
    for row in csv.DictReader(io.StringIO(text)):
        hint = VisaHint(row["status"], row["without_visa"], row["note"])
        for country in _GROUPS.get(row["country"], [row["country"]]):
            for named in row["passports"].split():
                for passport in _GROUPS.get(named, [named]):
                    # The first rule that names a passport holds.
                    rules.setdefault((country, passport), hint)
    return MappingProxyType(rules)


def visa_hint(*, country: str, passport: str | None, crosses_border: bool) -> VisaHint:
    """Return what the passport needs in the country; codes of ISO 3166-1 alpha-2."""
    if not crosses_border:
        return VisaHint(NO_BORDER, note="No border is crossed: the traveller is in the country.")
    if passport is None:
        return VisaHint(UNKNOWN, UNKNOWN, "Name the passport to learn more.")
    if passport == country:
        return VisaHint(OWN_COUNTRY)
    if country in EUROPE and passport in EUROPE:
        return VisaHint(FREE, note="Freedom of movement: a passport or identity card suffices.")
    return _rules().get(
        (country, passport), VisaHint(UNKNOWN, UNKNOWN, "Not in our table: ask the embassy.")
    )
