"""An app imports only from below, and the kernel imports none."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings

PROJECT = [
    path
    for folder in ("apps", "layoverhq")
    for path in sorted((settings.BASE_DIR / folder).rglob("*.py"))
]


def test_import_contracts__all__are_kept():
    process = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "0 broken" in process.stdout


def test_import_contracts__every_app__has_its_layer():
    text = (settings.BASE_DIR / "pyproject.toml").read_text()
    for config in apps.get_app_configs():
        if config.name.startswith("apps."):
            assert f'"{config.name}"' in text, f"{config.name} has no place in the layers"


@pytest.mark.parametrize("package", ["admin", "api", "tasks"])
def test_apps__another_apps_edges__are_imported_by_nobody(package):
    broken = []
    for path in PROJECT:
        parts = path.relative_to(settings.BASE_DIR).parts
        if parts[0] != "apps" or path.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                there = node.module.split(".")
                if (
                    there[0] == "apps"
                    and len(there) > 2
                    and there[1] != parts[1]
                    and there[2] == package
                    # How a request is authenticated is the tenants' to say.
                    and node.module != "apps.tenants.api.authentication"
                ):
                    broken.append(f"{path}: {node.module}")
    assert not broken


def test_modules__names__say_what_they_are():
    nothing = {"utils", "helpers", "common", "manager", "service", "services"}
    assert not [path for path in PROJECT if path.stem.lower() in nothing]


def test_models__none__overrides_save_or_delete():
    broken = [
        f"{path}: {node.name}.{method.name}"
        for path in PROJECT
        if path.name == "models.py" or path.parent.name == "models"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and method.name in {"save", "delete"}
    ]
    assert not broken
