"""The environment: what is accepted, and what one line says of the rest."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layoverhq import environment
from layoverhq.environment import EnvironmentProblem
from layoverhq.stack.ports import free_ports

SECRET = "s3cr3t-w0rd"

words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)
hosts = st.from_regex(r"\A[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?\Z")


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.delenv("ENVIRONMENT", raising=False)
    for name in environment.URLS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@given(user=words, password=words, host=hosts, port=st.integers(1, 65535), database=words)
def test_postgres_settings__any_percent_encoded_parts__come_back(
    user: str, password: str, host: str, port: int, database: str
) -> None:
    def encoded(part: str) -> str:
        return quote(part, safe="")

    url = f"postgres://{encoded(user)}:{encoded(password)}@{host}:{port}/{encoded(database)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        assert environment.postgres_settings("DATABASE_URL") == {
            "ENGINE": "layoverhq.postgres",
            "NAME": database,
            "USER": user,
            "PASSWORD": password,
            "HOST": host,
            "PORT": str(port),
            "OPTIONS": {},
        }


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_postgres_settings__any_text__is_settled_by_one_line_without_the_password(
    text: str,
) -> None:
    url = f"postgres://user:{SECRET}{text}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        try:
            environment.postgres_settings("DATABASE_URL")
        except EnvironmentProblem as problem:
            line = str(problem)
            assert line.startswith("DATABASE_URL: ")
            assert len(line.splitlines()) == 1
            assert SECRET not in line


def test_postgres_settings__libpq_parameters__become_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "DATABASE_URL", "postgresql://u:p@[::1]/db?sslmode=verify-full&connect_timeout=3"
    )

    found = environment.postgres_settings("DATABASE_URL")

    assert (found["HOST"], found["PORT"]) == ("::1", "5432")
    assert found["OPTIONS"] == {"sslmode": "verify-full", "connect_timeout": "3"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not set"),
        (SECRET, "is not a URL"),
        (f"mysql://u:{SECRET}@h/db", "must begin with postgres://"),
        (f"postgres://u:{SECRET}@h", "names no database"),
        (f"postgres://u:{SECRET}@h/", "names no database"),
        (f"postgres://u:{SECRET}@/db", "names no host"),
        (f"postgres://:{SECRET}@h/db", "names no user"),
        (f"postgres://u:{SECRET}@h:99999/db", "port"),
        (f"postgres://u:{SECRET}@h:0/db", "port"),
        (f"postgres://u:{SECRET}@h:x/db", "port"),
        (f"postgres://u:{SECRET}@a,b/db", "more than one host"),
        (f"postgres://u:{SECRET}@h/db?sslmod=x", "unknown parameter sslmod"),
        (f"postgres://u:x@h/db?{SECRET}=1", "unknown parameter in its query"),
        (f"postgres://u:x/{SECRET}@h/db", "%40"),
        (f"postgres://u:x#{SECRET}@h/db", "%23"),
        (f"postgres://u:{SECRET}%zz@h/db", "%25"),
        (f"postgres://u:{SECRET}%ff@h/db", "UTF-8"),
        (f"postgres://u:{SECRET}%00@h/db", "NUL"),
        (f"postgres://u:{SECRET}@h/db\n", "line break"),
        (f"postgres://u:{SECRET}@[h/db", "well-formed"),
    ],
)
def test_postgres_settings__wrong_url__names_the_variable_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("OWNER_DATABASE_URL", url)

    with pytest.raises(EnvironmentProblem) as caught:
        environment.postgres_settings("OWNER_DATABASE_URL")

    line = str(caught.value)
    assert line.startswith("OWNER_DATABASE_URL: ")
    assert said in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"unix:///run/{SECRET}", "must begin with redis://"),
        (f"redis://:{SECRET}@h/first", "database's number"),
        (f"redis://:{SECRET}@/0", "names no host"),
        (f"redis://:{SECRET}@h:70000/0", "port"),
        (f"redis://:{SECRET}@h/0?db=1", "unknown parameter db"),
    ],
)
def test_redis_url__wrong_url__names_the_variable_and_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)

    with pytest.raises(EnvironmentProblem, match=r"^REDIS_URL: ") as caught:
        environment.redis_url("REDIS_URL")

    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_redis_url__right_url__comes_back_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://u:p%40@cache.example:6380/2?ssl_cert_reqs=required")

    assert environment.redis_url("REDIS_URL").startswith("rediss://u:p%40@cache.example")


def test_read__embedded_file__yields_to_the_process_and_is_unknown_in_production(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    (empty_folder / "environment.json").write_text(json.dumps({"SECRET_KEY": "file"}))

    assert environment.read("SECRET_KEY") == "file"
    monkeypatch.setenv("SECRET_KEY", "process")
    assert environment.read("SECRET_KEY") == "process"
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert environment.read("SECRET_KEY", "default") == "default"


def test_read__damaged_file__is_one_line(empty_folder: Path) -> None:
    (empty_folder / "environment.json").write_text("{")

    with pytest.raises(EnvironmentProblem, match="not a JSON object"):
        environment.read("SECRET_KEY")


@pytest.mark.parametrize(("text", "meaning"), [("1", True), ("Off", False), ("", True)])
def test_flag__plain_words__are_understood(
    monkeypatch: pytest.MonkeyPatch, text: str, meaning: bool
) -> None:
    monkeypatch.setenv("A_FLAG", text)

    assert environment.flag("A_FLAG", True) is meaning


@pytest.mark.parametrize("text", ["maybe", "2"])
def test_flag__anything_else__names_the_variable(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("A_FLAG", text)

    with pytest.raises(EnvironmentProblem, match=r"^A_FLAG: "):
        environment.flag("A_FLAG", True)


@pytest.mark.parametrize("text", ["0", "11", "1_0", "٣", "1.0", "ten"])
def test_integer__outside_its_bounds_or_no_number__names_the_variable(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("A_NUMBER", text)

    with pytest.raises(EnvironmentProblem, match=r"^A_NUMBER: "):
        environment.integer("A_NUMBER", 5, 1, 10)


def test_words__comma_list__loses_spaces_and_empty_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_WORDS", " a, b ,,c")

    assert environment.words("SOME_WORDS", []) == ["a", "b", "c"]


@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgres"), ("REDIS_URL", "redis")])
def test_require_reachable__nobody_listens__says_where_and_keeps_the_password(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    port = next(free_ports(20000))
    monkeypatch.setenv(name, f"{scheme}://somebody:{SECRET}@127.0.0.1:{port}/0")

    with pytest.raises(EnvironmentProblem) as caught:
        environment.require_reachable(name)

    line = str(caught.value)
    assert line.startswith(f"{name}: cannot connect to 127.0.0.1:{port}")
    assert line.endswith("(connection refused)")
    assert SECRET not in line


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8100", "http://127.0.0.1:8100"),
        ("https://events.example.com/", "https://events.example.com"),
    ],
)
def test_base_url__address__comes_without_a_slash(
    text: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_URL", text)
    assert environment.base_url("STREAM_URL") == address


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1:8100", "ftp://a", "http://", "http://a:0", "http://a/events", "http://a?b=1",
     "http://a#b", "http://a b", "javascript://a", "http://a:x"],
)  # fmt: skip
def test_base_url__anything_else__is_one_line_that_names_the_variable(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_URL", text)
    with pytest.raises(EnvironmentProblem, match=r"^STREAM_URL: [^\n]+$"):
        environment.base_url("STREAM_URL")
