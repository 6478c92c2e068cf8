"""The same two flags in ours and in the peers, each asked for many users in turn.

`half` is on for a half of the users; `conditions` for a half of those who meet three conditions.
What is asked with is made beforehand, in the form that each takes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import growthbook.core
from django.core.cache import caches
from django.http import HttpRequest
from flag_engine.engine import get_evaluation_result
from growthbook import GrowthBook, GrowthBookClient, Options, UserContext
from growthbook.common_types import EvaluationContext as GrowthBookContext
from growthbook.common_types import GlobalContext, StackContext
from openfeature import api as openfeature
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from UnleashClient import UnleashClient
from UnleashClient.cache import FileCache
from UnleashClient.utils import InstanceAllowType
from waffle import flag_is_active, get_waffle_flag_model

from apps.flags.runtime import flags

HALF, CONDITIONS = "bench.half", "bench.conditions"
COUNTRIES = ["AT", "CH", "DE", "FR", "IT", "NL"]
OLDEST, ADULT = "2.4.0", 18
DOCUMENT = {
    "country": {"$in": COUNTRIES},
    "app_version": {"$vgte": OLDEST},
    "age": {"$gte": ADULT},
}
VERSIONS = [
    f"{major}.{minor}.{patch}" for major in (3, 4) for minor in range(10) for patch in (0, 2)
]

# Of the peers.
WITHOUT_CONDITIONS = {"django-waffle"}

User = dict[str, Any]
# Of all users in order, whether the flag is on.
Decide = Callable[[str], list[bool]]


def users(count: int) -> list[User]:
    """Return so many users who meet the conditions, the same ones each time."""
    drawn = random.Random(20_261_124)
    return [
        {
            "user": str(UUID(int=drawn.getrandbits(128), version=4)),
            "country": drawn.choice(COUNTRIES),
            "app_version": drawn.choice(VERSIONS),
            "age": drawn.randint(ADULT, 90),
        }
        for _ in range(count)
    ]


def misfits() -> list[User]:
    """Return users who each miss one of the conditions."""
    return [
        {**user, name: value}
        for user in users(100)
        for name, value in (("country", "US"), ("app_version", "2.3.9"), ("age", ADULT - 1))
    ]


def of_ours(asking: list[User]) -> Decide:
    """Ask flags.evaluate(), of the process's own snapshot."""
    return lambda flag: [flags.evaluate(flag, user).enabled for user in asking]


@contextmanager
def contenders(asking: list[User]) -> Iterator[dict[str, Decide]]:
    """Yield ours and the peers, ready to decide on these users."""
    with ExitStack() as stack:
        yield {
            "flags.evaluate": of_ours(asking),
            **stack.enter_context(of_growthbook(asking)),
            "UnleashClient": stack.enter_context(of_unleash(asking)),
            "flagsmith-flag-engine": of_flagsmith(asking),
            **stack.enter_context(of_flagd(asking)),
            "django-waffle": of_waffle(asking),
        }


@contextmanager
def of_growthbook(asking: list[User]) -> Iterator[dict[str, Decide]]:
    """Ask both clients, and what they both call."""
    rollout = {"force": True, "coverage": 0.5, "hashAttribute": "user"}
    features = {
        HALF: {"defaultValue": False, "rules": [rollout]},
        CONDITIONS: {"defaultValue": False, "rules": [{**rollout, "condition": DOCUMENT}]},
    }
    client = GrowthBook(features=features)

    def of_client(flag: str) -> list[bool]:
        answers = []
        for user in asking:
            client.set_attributes(user)
            answers.append(client.is_on(flag))
        return answers

    everybody = GlobalContext(options=Options(), features=client.get_features())

    def of_core(flag: str) -> list[bool]:
        return [
            growthbook.core.eval_feature(
                flag, GrowthBookContext(UserContext(attributes=user), everybody, StackContext())
            ).on
            for user in asking
        ]

    # Nothing is fetched: the features are set, and the client never initialised.
    concurrent = GrowthBookClient(Options(client_key="bench"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(concurrent.set_features(features))
    contexts = [UserContext(attributes=user) for user in asking]

    async def of_concurrent(flag: str) -> list[bool]:
        return [await concurrent.is_on(flag, context) for context in contexts]

    try:
        yield {
            "growthbook": of_client,
            "growthbook, asyncio": lambda flag: loop.run_until_complete(of_concurrent(flag)),
            "growthbook, its core alone": of_core,
        }
    finally:
        loop.close()


@contextmanager
def of_unleash(asking: list[User]) -> Iterator[Decide]:
    """Ask a client that was bootstrapped and fetches nothing; its engine is Rust."""

    def feature(name: str, constraints: list[dict[str, Any]]) -> dict[str, Any]:
        parameters = {"rollout": "50", "stickiness": "userId", "groupId": name}
        strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": constraints}
        return {"name": name, "enabled": True, "strategies": [strategy]}

    constraints: list[dict[str, Any]] = [
        {"contextName": "country", "operator": "IN", "values": COUNTRIES},
        {
            "contextName": "app_version",
            "operator": "SEMVER_LT",
            "value": OLDEST,
            "inverted": True,
        },
        {"contextName": "age", "operator": "NUM_GTE", "value": str(ADULT)},
    ]
    contexts = [
        {"userId": user["user"], "properties": {name: user[name] for name in DOCUMENT}}
        for user in asking
    ]
    with TemporaryDirectory() as folder:
        cache = FileCache("bench", directory=folder)
        cache.bootstrap_from_dict(
            {"version": 1, "features": [feature(HALF, []), feature(CONDITIONS, constraints)]}
        )
        client = UnleashClient(
            "http://localhost",
            "bench",
            cache=cache,
            disable_metrics=True,
            disable_registration=True,
            refresh_interval=3600,
            multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
        )
        client.initialize_client(fetch_toggles=False)
        try:
            yield lambda flag: [client.is_enabled(flag, context) for context in contexts]
        finally:
            client.destroy()


def of_flagsmith(asking: list[User]) -> Decide:
    """Ask the engine, which answers all flags of a context: each has the one flag only."""
    conditions: list[dict[str, Any]] = [
        {"property": "country", "operator": "IN", "value": COUNTRIES},
        {
            "property": "app_version",
            "operator": "GREATER_THAN_INCLUSIVE",
            "value": f"{OLDEST}:semver",
        },
        {"property": "age", "operator": "GREATER_THAN_INCLUSIVE", "value": str(ADULT)},
    ]
    split = {"property": "", "operator": "PERCENTAGE_SPLIT", "value": "50"}

    def environment(name: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
        feature = {"key": name, "name": name, "value": None}
        segment = {
            "key": name,
            "name": name,
            "rules": [{"type": "ALL", "conditions": [*conditions, split]}],
            "overrides": [{**feature, "enabled": True}],
        }
        return {
            "environment": {"key": "bench", "name": "bench"},
            "features": {name: {**feature, "enabled": False}},
            "segments": {name: segment},
        }

    contexts: dict[str, list[Any]] = {
        flag: [
            {
                **environment(flag, required),
                "identity": {"identifier": user["user"], "key": user["user"], "traits": user},
            }
            for user in asking
        ]
        for flag, required in ((HALF, []), (CONDITIONS, conditions))
    }
    return lambda flag: [
        get_evaluation_result(context)["flags"][flag]["enabled"] for context in contexts[flag]
    ]


@contextmanager
def of_flagd(asking: list[User]) -> Iterator[dict[str, Decide]]:
    """Ask a client of OpenFeature whose provider reads a file, and the provider itself."""
    rollout = {"fractional": [["on", 50], ["off", 50]]}
    conditions = [
        {"in": [{"var": "country"}, COUNTRIES]},
        {"sem_ver": [{"var": "app_version"}, ">=", OLDEST]},
        {">=": [{"var": "age"}, ADULT]},
    ]
    switch = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
    }
    definitions = {
        HALF: {**switch, "targeting": rollout},
        CONDITIONS: {**switch, "targeting": {"if": [{"and": conditions}, rollout, "off"]}},
    }
    contexts = [
        EvaluationContext(user["user"], {name: user[name] for name in DOCUMENT}) for user in asking
    ]
    # It stays: the provider's thread looks at it once more after it was shut down.
    source = Path(os.environ["VAR_DIR"], "flagd.json")
    source.write_text(json.dumps({"flags": definitions}))
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(source))
    openfeature.set_provider_and_wait(provider)
    client = openfeature.get_client()
    try:
        yield {
            "flagd, in process": lambda flag: [
                client.get_boolean_value(flag, False, context) for context in contexts
            ],
            "flagd, its provider alone": lambda flag: [
                provider.resolve_boolean_details(flag, False, context).value for context in contexts
            ],
        }
    finally:
        openfeature.shutdown()


def of_waffle(asking: list[User]) -> Decide:
    """Ask for requests of users whom no cookie remembers; it knows no conditions of this kind."""
    from apps.tenants.models import User as Person
    from layoverhq.tenancy import operator_scope

    caches["waffle"].clear()
    requests = []
    for user in asking:
        request = HttpRequest()
        request.user = Person(pk=UUID(user["user"]))
        requests.append(request)

    def decide(flag: str) -> list[bool]:
        answers = []
        for request in requests:
            # What it decided on is kept there.
            request.waffles = {}  # type: ignore[attr-defined]
            answers.append(bool(flag_is_active(request, flag)))
        return answers

    with operator_scope():
        get_waffle_flag_model().objects.update_or_create(name=HALF, defaults={"percent": 50})
        decide(HALF)
    return decide
