"""Private files: complete or absent, and readable by their owner only."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from layoverhq.stack.problems import StackProblem


def give_to_owner_of(directory: Path, descriptor: int) -> None:
    """Let root's files belong to whom their folder belongs, so that its owner can go on."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def write_private_json(path: Path, content: Mapping[str, object]) -> None:
    """Replace the file atomically; it has mode 600 from its first byte."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            give_to_owner_of(path.parent, file.fileno())
            json.dump(content, file, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read_json_object(path: Path) -> dict[str, object]:
    """Return the file's object, empty where there is no file; raise StackProblem on damage."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as problem:
        raise StackProblem(f"{path} is not valid JSON: restore it, or remove it") from problem
    if not isinstance(content, dict):
        raise StackProblem(f"{path} is not a JSON object: restore it, or remove it")
    return content


@contextmanager
def held_lock(path: Path, *, wait: bool) -> Iterator[int]:
    """Hold the kernel's exclusive lock on the file and yield its descriptor.

    Raise BlockingIOError at once where another process holds it and `wait` is false. A process
    that inherits the descriptor keeps the lock for as long as it or a child of it lives.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(PermissionError):
            give_to_owner_of(path.parent, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)
