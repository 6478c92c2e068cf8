"""Forms that take a YAML document in, and confirm what its dry run showed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from layoverhq.errors import InvalidInput
from layoverhq.model_admin import MONOSPACED, ReasonForm


class DocumentForm(forms.Form):
    """A document, pasted or as a file; `document` is what `read` made of it."""

    read: ClassVar[Callable[[str | bytes], Any]]
    hint: ClassVar[str] = ""

    text = forms.CharField(
        label="YAML",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14, **MONOSPACED}),
    )
    file = forms.FileField(
        label="or a file",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".yaml,.yml"}),
    )

    document: Any
    data: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[
            "text"
        ].help_text = f"As an export has it. What it leaves out stays. {self.hint}"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        file = cleaned.get("file")
        given: str | bytes = file.read() if file else cleaned.get("text", "")
        if not given.strip():
            raise ValidationError("Paste a document or choose a file.")
        try:
            self.document = type(self).read(given)
        except InvalidInput as error:
            raise ValidationError([fault.detail for fault in error.errors]) from error
        text = given.decode("utf-8-sig") if isinstance(given, bytes) else given
        # The confirmation sends back what was read, be it from a file.
        self.data = {**self.data.dict(), "text": text}
        return cleaned


class ConfirmForm(forms.Form):
    """The reason, and which plan is meant."""

    reason = ReasonForm.base_fields["reason"]
    digest = forms.CharField(max_length=64, widget=forms.HiddenInput)
