"""Many enterprises from one list: pasted from a spreadsheet, or a CSV file."""

from __future__ import annotations

import csv
import io
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from apps.tenants.models import Plan
from apps.tenants.operations import NewEnterprise, onboarding_errors

COLUMNS = ["name", "slug", "plan"]
MAXIMUM_LINES = 10_000
FAULTS_SHOWN = 100


class OnboardingForm(forms.Form):
    """Reads the list; `enterprises` is what it holds, `faults` what is wrong with it."""

    text = forms.CharField(
        label="List",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 10, "placeholder": "Acme Travel,acme-travel,business"}
        ),
        help_text=f"One enterprise a line: name, slug, plan ({', '.join(Plan.values)}; free if "
        f"left out), with commas or tabs between. At most {MAXIMUM_LINES:,} lines.",
    )
    file = forms.FileField(
        label="or a CSV file",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.tsv,.txt"}),
        help_text="In UTF-8.",
    )

    enterprises: list[NewEnterprise]
    faults: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enterprises = []
        self.faults = []

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if file := data.get("file"):
            try:
                data["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValidationError({"file": "This is not UTF-8 text."}) from error
        text = data.get("text", "")
        if not text.strip():
            raise ValidationError("Paste a list or choose a file.")
        # The confirmation sends back what was read, be it from a file.
        self.data = {**self.data.dict(), "text": text}
        self.enterprises, self.faults = read_list(text)
        if not self.faults:
            self.faults = [error.detail for error in onboarding_errors(self.enterprises)]
        if self.faults:
            shown = len(self.faults) - FAULTS_SHOWN
            self.faults = self.faults[:FAULTS_SHOWN]
            if shown > 0:
                self.faults.append(f"and {shown:,} more")
            raise ValidationError("Nothing was onboarded: mend these lines first.")
        return data


def read_list(text: str) -> tuple[list[NewEnterprise], list[str]]:
    """Return the enterprises of a list with their lines, and the faults of its form."""
    if "\x00" in text:
        return [], ["The list holds NUL bytes."]
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if "\t" in first else ",", strict=True
    )
    enterprises: list[NewEnterprise] = []
    faults: list[str] = []
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row) or [cell.lower() for cell in row] == COLUMNS:
                continue
            if len(row) not in (2, 3):
                faults.append(f"line {reader.line_num}: {len(row)} columns instead of 2 or 3")
                continue
            plan = row[2].lower() if len(row) == 3 and row[2] else Plan.FREE.value
            enterprises.append(NewEnterprise(row[0], row[1], plan, line=reader.line_num))
            if len(enterprises) > MAXIMUM_LINES:
                return [], [f"The list has more than {MAXIMUM_LINES:,} lines."]
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}")
    if not enterprises and not faults:
        faults.append("The list is empty.")
    return enterprises, faults
