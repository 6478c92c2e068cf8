"""Scheduled and queued work on tenants."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from apps.tenants import moving, offboarding
from layoverhq.tenancy import operator_scope


@shared_task
def advance_offboarding(*, offboarding_id: str, **kwargs: Any) -> None:
    """Export or erase, as the offboarding waits for."""
    with operator_scope():
        offboarding.advance_offboarding(offboarding_id=UUID(offboarding_id))


@shared_task
def resume_offboardings(**kwargs: Any) -> None:
    """Take up offboardings that a killed worker or an absent broker left."""
    with operator_scope():
        for offboarding_id in offboarding.stalled_offboardings():
            advance_offboarding.delay(offboarding_id=str(offboarding_id))


@shared_task
def advance_enterprise_move(*, move_id: str, **kwargs: Any) -> None:
    """Move an enterprise's travellers to or from its own schema."""
    with operator_scope():
        moving.advance_move(move_id=UUID(move_id))


@shared_task
def resume_enterprise_moves(**kwargs: Any) -> None:
    """Take up moves that a killed worker or an absent broker left."""
    with operator_scope():
        for move_id in moving.stalled_moves(now=timezone.now()):
            advance_enterprise_move.delay(move_id=str(move_id))
