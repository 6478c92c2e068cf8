"""The embedded PostgreSQL and Valkey of a checkout: their lifecycle and first set-up."""

from layoverhq.stack.bootstrap import ROLES, create_roles_and_database
from layoverhq.stack.lifecycle import Endpoints, ServerStatus, Stack, ensure_keys
from layoverhq.stack.problems import StackProblem

__all__ = [
    "ROLES",
    "Endpoints",
    "ServerStatus",
    "Stack",
    "StackProblem",
    "create_roles_and_database",
    "ensure_keys",
]
