"""The guide's four flags, to the letter; and that each gates something once its app is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from apps.flags import queries
from apps.flags.definitions import definition_faults
from apps.flags.models import FeatureFlag, FlagVersion

pytestmark = pytest.mark.usefixtures("operator")

# Name, description, enabled, rollout in per cent, as in the guide's “Seed feature flags”.
GUIDE = {
    "enhanced_search": ("Enhanced search with ML recommendations", True, 100),
    "real_time_weather": ("Real-time weather integration", True, 50),
    "advanced_analytics": ("Advanced analytics dashboard", False, 0),
    "white_label_v2": ("Next generation white-label features", False, 5),
}

# Flags of the guide that the release has before the app whose feature they gate. An entry goes as
# soon as something asks for its flag, and has to by the time the app is there.
AWAITED = {
    "advanced_analytics": "billing",
}


@pytest.mark.parametrize("name", GUIDE)
def test_seed__of_the_guide__is_there_to_the_letter(name: str):
    first = FlagVersion.objects.get(flag__name=name, number=1)
    said = first.definition
    assert (said["description"], said["enabled"], said["rollout_percentage"]) == GUIDE[name]
    assert (first.author_id, first.reason) == (None, "seed")
    assert first.flag.value_type == "boolean"
    faults = definition_faults(
        said, name=name, value_type="boolean", around=queries.surroundings(name)
    )
    assert faults == []


def test_flags__that_code_asks_for__are_all_seeded():
    seeded = set(FeatureFlag.objects.filter(versions__reason="seed").values_list("name", flat=True))
    assert set(queries.readers()) - seeded == set()
    assert seeded - set(queries.readers()) == set(AWAITED)


@pytest.mark.parametrize("name", AWAITED)
def test_flags__awaited__are_the_guides_and_their_app_is_not_there_yet(name: str):
    assert name in GUIDE
    assert not (Path(settings.BASE_DIR) / "apps" / AWAITED[name]).exists()
