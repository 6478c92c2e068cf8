"""What differs between machines: the process's environment, or the embedded servers' file."""

import json
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import psycopg
import redis
from psycopg.conninfo import make_conninfo
from redis.backoff import NoBackoff
from redis.retry import Retry

ROOT = Path(__file__).resolve().parent.parent

POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})
REDIS_SCHEMES = frozenset({"redis", "rediss"})
HTTP_SCHEMES = frozenset({"http", "https"})
URLS = ("DATABASE_URL", "OPERATOR_DATABASE_URL", "OWNER_DATABASE_URL", "REDIS_URL")

# libpq's, without those that the URL says elsewhere.
POSTGRES_PARAMETERS = frozenset({
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "options",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
})  # fmt: skip
# redis-py's, of those that a URL may carry.
REDIS_PARAMETERS = frozenset({
    "health_check_interval",
    "socket_connect_timeout",
    "socket_timeout",
    "ssl_ca_certs",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
})  # fmt: skip

REACH_SECONDS = 5


class EnvironmentProblem(Exception):
    """A variable is missing or wrong; the message is one line that begins with its name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


def var_directory() -> Path:
    """Return the folder of what this checkout makes while it runs."""
    return Path(os.environ.get("VAR_DIR") or ROOT / "var")


def read(name: str, default: str | None = None) -> str | None:
    """Return the variable's value; outside production, the embedded servers' file may hold it."""
    value = os.environ.get(name)
    if value is None and os.environ.get("ENVIRONMENT") != "production":
        value = _embedded().get(name)
    return default if value is None else value


# The file is small and changes while `up` runs, so it is read again whenever it was replaced.
_known: tuple[tuple[str, int, int], dict[str, str]] | None = None


def _embedded() -> dict[str, str]:
    global _known
    path = var_directory() / "environment.json"
    try:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            version = (str(path), found.st_ino, found.st_mtime_ns)
            if _known is None or _known[0] != version:
                _known = (version, {str(k): str(v) for k, v in json.load(file).items()})
            return _known[1]
    except FileNotFoundError:
        return {}
    except PermissionError as problem:
        raise EnvironmentProblem("VAR_DIR", f"{path} belongs to another user") from problem
    except (AttributeError, ValueError) as problem:
        raise EnvironmentProblem(
            "VAR_DIR", f"{path} is not a JSON object: restore it, or remove it"
        ) from problem


def postgres_settings(name: str) -> dict[str, object]:
    """Return Django's DATABASES entry for the URL in the variable."""
    entry, options = _postgres(name)
    return {"ENGINE": "layoverhq.postgres", **entry, "OPTIONS": options}


def _postgres(name: str) -> tuple[dict[str, str], dict[str, str]]:
    url = _split(name, POSTGRES_SCHEMES)
    host, port = _host(name, url), _port(name, url)
    database = _decoded(name, url.path.removeprefix("/"))
    if not database:
        raise EnvironmentProblem(name, "names no database after the host")
    if not url.username:
        raise EnvironmentProblem(name, "names no user")
    entry = {
        "NAME": database,
        "USER": _decoded(name, url.username),
        "PASSWORD": _decoded(name, url.password or ""),
        "HOST": host,
        "PORT": str(port or 5432),
    }
    return entry, _parameters(name, url, POSTGRES_PARAMETERS)


def redis_url(name: str) -> str:
    """Return the URL in the variable, once it is known to be one of Redis over TCP."""
    url = _split(name, REDIS_SCHEMES)
    _parameters(name, url, REDIS_PARAMETERS)
    _host(name, url)
    _port(name, url)
    if not re.fullmatch(r"/?|/[0-9]{1,4}", url.path):
        raise EnvironmentProblem(name, "the part after the host is not a database's number")
    return _required(name)


def base_url(name: str) -> str:
    """Return the address in the variable, of HTTP and without a path or a slash at its end."""
    url = _split(name, HTTP_SCHEMES)
    _host(name, url)
    _port(name, url)
    if url.path not in {"", "/"} or url.query:
        raise EnvironmentProblem(name, "has more than scheme, host and port")
    return _required(name).rstrip("/")


def flag(name: str, default: bool) -> bool:
    """Return whether the variable says yes: 1, true, yes or on against 0, false, no or off."""
    value = read(name)
    if not value:
        return default
    meaning = {"1": True, "true": True, "yes": True, "on": True}
    meaning |= {"0": False, "false": False, "no": False, "off": False}
    try:
        return meaning[value.strip().lower()]
    except KeyError:
        raise EnvironmentProblem(name, "is neither true nor false") from None


def integer(name: str, default: int, minimum: int, maximum: int) -> int:
    """Return the variable's whole number, which lies within both bounds."""
    value = read(name)
    if not value:
        return default
    # int() would accept underscores and other scripts' digits as well.
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        raise EnvironmentProblem(name, "is not a whole number")
    number = int(value)
    if not minimum <= number <= maximum:
        raise EnvironmentProblem(name, f"is {number}, not from {minimum} to {maximum}")
    return number


def words(name: str, default: list[str]) -> list[str]:
    """Return the variable's comma-separated parts without the spaces around them."""
    value = read(name)
    if value is None:
        return default
    return [word for word in map(str.strip, value.split(",")) if word]


def require_reachable(*names: str) -> None:
    """Open and close a connection to the server that each variable names."""
    for name in names:
        if _required(name).partition(":")[0].lower() in REDIS_SCHEMES:
            _reach_redis(name)
        else:
            _reach_postgres(name)


def _reach_postgres(name: str) -> None:
    entry, options = _postgres(name)
    conninfo = make_conninfo(
        host=entry["HOST"],
        port=entry["PORT"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        dbname=entry["NAME"],
        **options,
    )
    try:
        psycopg.connect(conninfo, connect_timeout=REACH_SECONDS).close()
    except psycopg.Error as problem:
        reason = _reason(problem, entry["PASSWORD"])
        raise EnvironmentProblem(
            name,
            f"cannot connect to {entry['HOST']}:{entry['PORT']} as {entry['USER']} ({reason})",
        ) from problem


def _reach_redis(name: str) -> None:
    text = redis_url(name)
    url = urlsplit(text)
    client = redis.Redis.from_url(
        text,
        socket_timeout=REACH_SECONDS,
        socket_connect_timeout=REACH_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        client.ping()
    except (redis.RedisError, OSError) as problem:
        reason = _reason(problem, unquote(url.password or ""))
        raise EnvironmentProblem(
            name, f"cannot connect to {url.hostname}:{url.port or 6379} ({reason})"
        ) from problem
    finally:
        client.close()


def _reason(problem: Exception, password: str) -> str:
    """Return the last thing that the driver says, on one line and without the password."""
    text = str(problem)
    for phrase in ("connection refused", "timeout", "timed out", "too many connections"):
        if phrase in text.lower():
            return "timed out" if phrase == "timeout" else phrase
    first = text.strip().splitlines()[0] if text.strip() else type(problem).__name__
    reason = re.sub(r"^.*(?:failed|FATAL|ERROR): +", "", first).strip(" .")
    if password:
        reason = reason.replace(password, "…")
    return reason


def _required(name: str) -> str:
    value = read(name)
    if not value:
        raise EnvironmentProblem(name, "is not set")
    return value


def _split(name: str, schemes: frozenset[str]) -> SplitResult:
    """Return the URL's parts; no message quotes any, since each may be of a password."""
    text = _required(name)
    if not text.isprintable() or " " in text:
        raise EnvironmentProblem(name, "holds a space, a line break or a control character")
    wanted = " or ".join(f"{scheme}://" for scheme in sorted(schemes))
    if "://" not in text:
        raise EnvironmentProblem(name, f"is not a URL: it must begin with {wanted}")
    try:
        url = urlsplit(text)
    except ValueError as problem:
        raise EnvironmentProblem(name, "is not a well-formed URL") from problem
    if url.scheme not in schemes:
        raise EnvironmentProblem(name, f"must begin with {wanted}")
    # An unescaped delimiter within the password moves its rest into the later parts.
    if url.fragment or "#" in text or "@" in url.path + url.query:
        raise EnvironmentProblem(name, "has a # or @ that must be written as %23 or %40")
    return url


def _host(name: str, url: SplitResult) -> str:
    if "," in url.netloc.rpartition("@")[2]:
        raise EnvironmentProblem(name, "names more than one host")
    if not url.hostname:
        raise EnvironmentProblem(name, "names no host")
    return _decoded(name, url.hostname)


def _port(name: str, url: SplitResult) -> int | None:
    try:
        port = url.port
    except ValueError:
        port = 0
    if port == 0:
        raise EnvironmentProblem(name, "its port is not a number from 1 to 65535") from None
    return port


def _decoded(name: str, text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise EnvironmentProblem(name, "has a % that must be written as %25")
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError as problem:
        raise EnvironmentProblem(name, "has percent-encoded bytes that are not UTF-8") from problem
    if "\0" in value:
        raise EnvironmentProblem(name, "holds a NUL byte")
    return value


def _parameters(name: str, url: SplitResult, known: frozenset[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
    except ValueError as problem:
        raise EnvironmentProblem(name, "its query is not of the form name=value") from problem
    for parameter, value in pairs:
        if parameter not in known:
            # What looks like no parameter at all may be a piece of the password.
            shown = parameter if re.fullmatch(r"[a-z_]{1,40}", parameter) else "in its query"
            raise EnvironmentProblem(name, f"unknown parameter {shown}")
        if "\0" in value:
            raise EnvironmentProblem(name, "holds a NUL byte")
    return dict(pairs)
