"""Versions of learned weights: trained, put to use where they earn it, retired, rolled back.

All run with the operator's role: open an operator_scope around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

import structlog
from django.db import connections
from django.db.models import Count, Max, QuerySet

from apps.configs.runtime import configs
from apps.flights.models import OfferChoice, RankerVersion
from apps.flights.ranking import configured_weights, counted_components
from apps.flights.training import Row, Trained, choice_sets, train
from apps.flights.weights import COMPONENTS, DECIMALS, SCORE_VERSION
from layoverhq.errors import Conflict
from layoverhq.tenancy import TenantRef, atomic, current_alias

log = structlog.get_logger(__name__)

Status = RankerVersion.Status

# The newest are learned from; more of them cost memory and change little.
MAXIMUM_CHOICES: Final = 100_000
ROWS_AT_ONCE: Final = 2_000
# Fewer held out prove nothing, whatever they say.
FEWEST_HELD_OUT: Final = 30
FEWEST_SHARING: Final = 2
VERSIONS_KEPT: Final = timedelta(days=365)


class RankerRefused(Conflict):
    """The ranker cannot be used like that."""

    code = "ranker_refused"


class TooFewChoices(Conflict):
    """There are too few choices to learn from."""

    code = "too_few_choices"


def due_trainings(*, now: datetime) -> list[UUID | None]:
    """Return whose weights can be learned: enterprises, and None for those that share.

    An enterprise's are with `features.experimental_ml` and enough choices.
    """
    counts = choices_to_learn_from(now=now)
    fewest = configs.get("ranking.training_choices")
    due: list[UUID | None] = [
        enterprise_id
        for enterprise_id, number in sorted(counts.items())
        if number >= fewest and configs.get("features.experimental_ml", TenantRef(enterprise_id))
    ]
    sharing = [each for each in counts if configs.get("ranking.share_choices", TenantRef(each))]
    if len(sharing) >= FEWEST_SHARING and sum(counts[each] for each in sharing) >= fewest:
        due.append(None)
    return due


def choices_to_learn_from(*, now: datetime) -> dict[UUID, int]:
    """Return how many choices each enterprise has that can be learned from."""
    counted = _usable(now).order_by().values_list("enterprise_id").annotate(number=Count("*"))
    return dict(counted.values_list("enterprise_id", "number"))


def train_ranker(
    *, enterprise_id: UUID | None, now: datetime, forced: bool = False
) -> RankerVersion | None:
    """Learn the weights of an enterprise, or (None) of those that share their choices.

    The version is active at once if it gains at least `ranking.margin` on the choices held out,
    rejected if it gains nothing, and else a candidate. Where nothing is new since the last one,
    none is made unless `forced`. Raises TooFewChoices.
    """
    tenant = None if enterprise_id is None else TenantRef(enterprise_id)
    chosen, whose = _choices_of(enterprise_id, now)
    facts = require_choices(enterprise_id=enterprise_id, now=now)
    counted = _counted(whose)
    standing = configured_weights(tenant)
    against = asdict(standing.of(counted))
    if not forced and _is_known(enterprise_id, facts, against, now):
        return None
    trained = train(choice_sets(_rows(chosen)), standing, counted)
    return _store(
        enterprise_id,
        trained,
        against=against,
        newest=facts["newest"],
        enterprises=len(whose),
        now=now,
    )


def require_choices(*, enterprise_id: UUID | None, now: datetime) -> dict[str, Any]:
    """Return how many choices there are to learn from, and when the newest was made.

    Raises TooFewChoices.
    """
    chosen, whose = _choices_of(enterprise_id, now)
    facts = chosen.aggregate(number=Count("*"), newest=Max("chosen_at"))
    fewest = configs.get("ranking.training_choices")
    if facts["number"] < fewest or (enterprise_id is None and len(whose) < FEWEST_SHARING):
        raise TooFewChoices(
            f"There are {facts['number']:,} choices of {len(whose)} enterprises with something"
            f" shown beside them; {fewest:,} are needed"
            + (
                f", of {FEWEST_SHARING} enterprises that share theirs."
                if enterprise_id is None
                else "."
            )
        )
    return facts


def activate_ranker(*, version: RankerVersion, now: datetime) -> RankerVersion:
    """Use a candidate or a retired version, instead of the one in use. Raises RankerRefused."""
    with atomic():
        _lock(version.enterprise_id)
        version = RankerVersion.objects.select_related("enterprise").get(pk=version.pk)
        if version.status not in (Status.CANDIDATE, Status.RETIRED):
            raise RankerRefused(f"It is {version.get_status_display().lower()}.")
        if version.score_version != SCORE_VERSION:
            raise RankerRefused(
                f"It is for the formula {version.score_version}; the formula is {SCORE_VERSION}."
            )
        days = configs.get("ranking.fresh_days", version.enterprise)
        if now - version.trained_at > timedelta(days=days):
            raise RankerRefused(
                f"It was trained more than {days} days ago (ranking.fresh_days): nobody would be"
                " ranked by it. Train anew."
            )
        _retire(version.enterprise_id, [Status.ACTIVE], "Another one was activated.", now)
        version.status = Status.ACTIVE
        version.activated_at, version.retired_at = now, None
        version.note = "Activated by an operator."
        version.save(update_fields=["status", "activated_at", "retired_at", "note"])
    log.info("ranker_activated", ranker=str(version.pk), tenant_id=str(version.enterprise_id))
    return version


def retire_ranker(*, version: RankerVersion, now: datetime) -> RankerVersion:
    """Take the version out of use: the configured weights hold. Raises RankerRefused."""
    with atomic():
        _lock(version.enterprise_id)
        version = RankerVersion.objects.select_related("enterprise").get(pk=version.pk)
        if version.status not in (Status.ACTIVE, Status.CANDIDATE):
            raise RankerRefused(f"It is {version.get_status_display().lower()}.")
        version.status, version.retired_at = Status.RETIRED, now
        version.note = "Retired by an operator."
        version.save(update_fields=["status", "retired_at", "note"])
    log.info("ranker_retired", ranker=str(version.pk), tenant_id=str(version.enterprise_id))
    return version


def roll_back_ranker(*, version: RankerVersion, now: datetime) -> RankerVersion:
    """Use the version again that was in use before this one. Raises RankerRefused."""
    with atomic():
        _lock(version.enterprise_id)
        if not RankerVersion.objects.filter(pk=version.pk, status=Status.ACTIVE).exists():
            raise RankerRefused("It is not in use.")
        earlier = predecessor(version)
        if earlier is None:
            raise RankerRefused("None was in use before: retire it instead.")
        return activate_ranker(version=earlier, now=now)


def predecessor(version: RankerVersion) -> RankerVersion | None:
    """Return the version that was in use before one, if it still could be."""
    if version.activated_at is None:
        return None
    earlier = RankerVersion.objects.of(version.enterprise_id).filter(
        status=Status.RETIRED, activated_at__lt=version.activated_at
    )
    return earlier.order_by("-activated_at").first()


def purge_rankers(*, now: datetime) -> int:
    """Delete versions out of use that were trained more than a year ago; return how many."""
    old = RankerVersion.objects.filter(trained_at__lt=now - VERSIONS_KEPT)
    return old.exclude(status=Status.ACTIVE).delete()[0]


def _usable(now: datetime) -> QuerySet[OfferChoice]:
    """Return the choices that can be learned from: those of something among other things."""
    since = now - timedelta(days=configs.get("ranking.history_days"))
    living = OfferChoice.objects.filter(enterprise__deleted_at__isnull=True)
    return living.filter(chosen_at__gt=since).exclude(shown_ids=[])


def _choices_of(
    enterprise_id: UUID | None, now: datetime
) -> tuple[QuerySet[OfferChoice], list[UUID]]:
    """Return the newest choices to learn from, and whose they are."""
    usable = _usable(now)
    if enterprise_id is not None:
        whose = [enterprise_id]
    else:
        known = usable.order_by().values_list("enterprise_id", flat=True).distinct()
        whose = [each for each in known if configs.get("ranking.share_choices", TenantRef(each))]
    newest = usable.filter(enterprise_id__in=whose).order_by("-chosen_at", "-id")
    return newest[:MAXIMUM_CHOICES], whose


def _counted(whose: list[UUID]) -> dict[str, bool]:
    """Return which components count for any of the enterprises; each is ranked by its own."""
    counted = [counted_components({"enterprise": str(each)}) for each in whose]
    return {name: any(each[name] for each in counted) for name in counted[0]}


def _rows(chosen: QuerySet[OfferChoice]) -> Iterator[Row]:
    rows = chosen.values_list("unit", "id", "components", "shown_components")
    for unit, choice, components, shown in rows.iterator(chunk_size=ROWS_AT_ONCE):
        # Nobody knows whether two choices without a traveller are of the same.
        yield cast(Row, (unit or choice, components, shown))


def _is_known(
    enterprise_id: UUID | None, facts: dict[str, Any], against: dict[str, float], now: datetime
) -> bool:
    """Return whether the last version was learned from just this, not long ago."""
    last = RankerVersion.objects.of(enterprise_id).order_by("-id").first()
    return (
        last is not None
        and last.choices + last.held_out == facts["number"]
        and last.newest_choice_at == facts["newest"]
        and last.configured_weights == against
        and last.score_version == SCORE_VERSION
        # Before what is in use grows stale it is confirmed.
        and now - last.trained_at < timedelta(days=configs.get("ranking.fresh_days")) / 2
    )


def verdict(trained: Trained, *, margin: float) -> tuple[str, str]:
    """Return the status that a version gets, and why."""
    gained = f"Gains {trained.gain:.4f} nats a choice, at least {trained.gain_at_least:.4f}"
    if not trained.weights.total > 0:
        return Status.REJECTED, "No component tells what travellers choose."
    if trained.held_out < FEWEST_HELD_OUT:
        return (
            Status.REJECTED,
            f"Only {trained.held_out} choices were held out: they prove nothing.",
        )
    if trained.gain <= 0:
        return Status.REJECTED, f"{gained}: no better than the configured weights."
    if trained.gain_at_least < margin:
        return Status.CANDIDATE, f"{gained}; the margin is {margin:g}."
    if trained.top_1 < trained.configured_top_1:
        return Status.CANDIDATE, f"{gained}, but fewer choices rank first."
    return Status.ACTIVE, f"{gained}; the margin is {margin:g}."


def _store(
    enterprise_id: UUID | None,
    trained: Trained,
    *,
    against: dict[str, float],
    newest: datetime,
    enterprises: int,
    now: datetime,
) -> RankerVersion:
    tenant = None if enterprise_id is None else TenantRef(enterprise_id)
    status, note = verdict(trained, margin=configs.get("ranking.margin", tenant))
    with atomic():
        _lock(enterprise_id)
        if status != Status.REJECTED:
            replaced = [Status.CANDIDATE, *([Status.ACTIVE] if status == Status.ACTIVE else [])]
            _retire(enterprise_id, replaced, "A newer one was trained.", now)
        version = RankerVersion.objects.create(
            enterprise_id=enterprise_id,
            status=status,
            note=note,
            weights={name: round(getattr(trained.weights, name), DECIMALS) for name in COMPONENTS},
            score_version=SCORE_VERSION,
            trained_at=now,
            choices=trained.choices,
            held_out=trained.held_out,
            newest_choice_at=newest,
            enterprises=enterprises,
            log_loss=trained.log_loss,
            configured_log_loss=trained.configured_log_loss,
            top_1=trained.top_1,
            configured_top_1=trained.configured_top_1,
            configured_weights=against,
            gain=trained.gain,
            gain_at_least=trained.gain_at_least,
            activated_at=now if status == Status.ACTIVE else None,
        )
    log.info(
        "ranker_trained",
        ranker=str(version.pk),
        tenant_id=str(enterprise_id),
        status=status,
        choices=trained.choices,
        gain=round(trained.gain, 4),
    )
    return version


def _retire(enterprise_id: UUID | None, statuses: list[Any], note: str, now: datetime) -> None:
    RankerVersion.objects.of(enterprise_id).filter(status__in=statuses).update(
        status=Status.RETIRED, retired_at=now, note=note
    )


def _lock(enterprise_id: UUID | None) -> None:
    """Let one writer at a time decide which of an enterprise's versions is in use."""
    with connections[current_alias()].cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"ranker {enterprise_id}"]
        )
