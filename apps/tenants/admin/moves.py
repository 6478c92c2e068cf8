"""Moves between the shared tables and own schemas: how far each is, and what was moved."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from apps.audit.history import HistoryTab
from apps.tenants.models import EnterpriseMove
from apps.tenants.moving import call_off_move, resume_move
from layoverhq.model_admin import OperationAdmin, ReadOnly, ReasonedChange, ReasonForm, each, pill

Stage = EnterpriseMove.Stage
TONES = {Stage.DONE.value: "success", Stage.CALLED_OFF.value: "", Stage.QUEUED.value: ""}


def _unfinished(move: EnterpriseMove) -> str:
    return "is finished" if move.is_finished else ""


def _not_moved(move: EnterpriseMove) -> str:
    return "has happened" if move.stage == Stage.CLEARING else _unfinished(move)


RESUME = ReasonedChange(
    title="Try again now",
    done="Queued again",
    consequence="A worker goes on with the move at once, unless one is at it already.",
    obstacle=_unfinished,
    operation=each(resume_move, "move"),
)
CALL_OFF = ReasonedChange(
    title="Call off",
    done="Called off",
    consequence="The rows stay where they are. An empty schema that was made stays as well, for the"
    " next time.",
    obstacle=_not_moved,
    operation=each(call_off_move, "move"),
)


@admin.register(EnterpriseMove)
class EnterpriseMoveAdmin(ReadOnly, OperationAdmin):
    list_display = (
        "created_at",
        "enterprise",
        "target",
        "shown_stage",
        "rows_total",
        "attempts",
        "finished_at",
    )
    list_display_links = ("created_at", "enterprise")
    list_filter = ("stage", "target")
    list_select_related = ("enterprise",)
    search_fields = ("enterprise__name", "enterprise__slug")
    search_help_text = "Find by the enterprise's name or slug."
    ordering = ("-id",)
    actions = None
    actions_detail = ("resume", "call_off")
    change_form_datasets = (HistoryTab.of(EnterpriseMove),)
    fields = (
        "progress",
        ("enterprise", "target"),
        ("reason", "attempts"),
        ("created_at", "finished_at"),
    )
    readonly_fields = ("progress",)

    def has_move_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("tenants.change_enterprisemove")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        move = self.get_object(request, object_id)
        if move is None:
            return []
        names = set()
        if not _unfinished(move):
            names.add("tenants_enterprisemove_resume")
        if not _not_moved(move):
            names.add("tenants_enterprisemove_call_off")
        permitted = super().get_actions_detail(request, object_id)
        return [item for item in permitted if item.action_name in names]

    @display(description="Stage")
    def shown_stage(self, move: EnterpriseMove) -> SafeString:
        if move.error and not move.is_finished:
            return pill("Failed, tried again", "danger")
        label = Stage(move.stage).label.partition(":")[0]
        return pill(label, TONES.get(move.stage, "info"))

    @display(description="Progress")
    def progress(self, move: EnterpriseMove) -> SafeString:
        summary = f"{move.rows_done:,} of {move.rows_total:,} rows"
        summary += f", now {move.table_now}" if move.table_now else ""
        return render_to_string(
            "admin/move_progress.html",
            {"move": move, "summary": summary, "url": self.change_url(move.pk)},
        )

    @action(
        description="Try again now…",
        permissions=["move"],
        icon="replay",
        dialog=RESUME.dialog(),
    )
    def resume(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, RESUME)

    @action(
        description="Call off…",
        permissions=["move"],
        icon="cancel",
        variant=ActionVariant.DANGER,
        dialog=CALL_OFF.dialog(),
    )
    def call_off(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        return self.change_one(request, form, object_id, CALL_OFF)
