"""Request ids, addresses and bodies, before any view sees them."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

import pytest
from django.conf import settings as live_settings
from django.test import Client, RequestFactory
from structlog.stdlib import ProcessorFormatter

from layoverhq import context, middleware, tenancy
from layoverhq.errors import PROBLEM_CONTENT_TYPE
from layoverhq.logs import logging_configuration
from layoverhq.middleware import client_address
from tests.tenants import factories

pytestmark = pytest.mark.urls("tests.kernel.fault_urls")


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.msg for record in caplog.records if isinstance(record.msg, dict)]


@pytest.mark.parametrize("given", ["r1", "A-b_c.9", "x" * 64])
def test_request_id__usable__is_the_callers(given, caplog):
    with caplog.at_level(logging.INFO):
        response = Client().get("/circumstances", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given
    assert response.json()["request_id"] == given
    told = {line["event"]: line["request_id"] for line in lines(caplog)}
    assert told == {"inside": given, "request": given}


@pytest.mark.parametrize(
    "given", ["", "x" * 65, "a b", "a\nb", "a\r\nX-Injected: 1", "é", "<script>", "a;b", "\x00"]
)
def test_request_id__unusable__is_a_fresh_one(given):
    response = Client().get("/circumstances", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert "X-Injected" not in response.headers


def test_request_id__two_requests__differ():
    ids = {Client().get("/healthz").headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2


def test_context__after_the_response__is_empty():
    Client().get("/circumstances", headers={"X-Request-ID": "r1"})
    assert context.current() == context.RequestContext()


def test_log__request_line__tells_what_happened_and_no_secret(caplog, enterprise):
    issued = factories.make_key(enterprise)
    factories.await_key(issued.token)
    with caplog.at_level(logging.DEBUG):
        factories.client_with(issued.token).get("/api/v1/api-keys?token=hidden-in-the-query")
    (line,) = [line for line in lines(caplog) if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/api-keys", 200)
    assert line["ms"] >= 0
    assert issued.token not in caplog.text
    assert "hidden-in-the-query" not in caplog.text


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    """Return the line that production writes of a record."""
    options = logging_configuration(json=True, level="INFO")["formatters"]["structured"]
    formatter = ProcessorFormatter(**{k: v for k, v in options.items() if k != "()"})
    parsed: dict[str, Any] = json.loads(formatter.format(record))
    return parsed


def test_log__line_of_a_library__is_json_with_the_request_id(enterprise):
    with context.bind(request_id="r7", enterprise_id=enterprise.id):
        line = formatted(
            logging.LogRecord("lib", logging.WARNING, "", 0, "from a %s", ("library",), None)
        )
    assert line["event"] == "from a library"
    assert (line["request_id"], line["enterprise_id"]) == ("r7", str(enterprise.id))
    assert (line["level"], line["logger"]) == ("warning", "lib")
    assert line["timestamp"].endswith("Z")


def test_log__exception__is_one_line():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("lib", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    line = formatted(record)
    assert "ValueError: two\nlines" in line["exception"]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "expected"),
    [
        (0, "1.2.3.4", "10.0.0.9", "10.0.0.9"),
        (0, "", "", ""),
        (0, "", "unix:", ""),
        (0, "", "2001:DB8::1", "2001:db8::1"),
        # PostgreSQL's inet knows no zones.
        (0, "", "fe80::1%eth0", "fe80::1"),
        (1, "1.2.3.4", "10.0.0.9", "1.2.3.4"),
        # What stands left of our own proxies' entries is the caller's own word.
        (1, "6.6.6.6, 1.2.3.4", "10.0.0.9", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.1", "10.0.0.9", "1.2.3.4"),
        (2, "1.2.3.4", "10.0.0.9", "10.0.0.9"),
        (1, "", "10.0.0.9", ""),
        (1, "1.2.3.4'); drop table users; --", "10.0.0.9", ""),
        (1, "1.2.3.4:5555", "10.0.0.9", ""),
        (1, "fe80::1%'; select 1", "10.0.0.9", "fe80::1"),
    ],
)
def test_client_address__proxies__only_ours_are_believed(
    settings, proxies, forwarded, remote, expected
):
    settings.PROXY_COUNT = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=remote)
    if forwarded:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(request) == expected


def test_user_agent__odd__is_cut_and_clean():
    agent = "é\x00" + "x" * 500
    told = Client().get("/circumstances", headers={"User-Agent": agent}).json()["user_agent"]
    assert len(told) <= 300
    assert "\x00" not in told


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30])
def test_body__length_that_is_none__is_400_naming_the_body(api, length):
    response = api.post(
        "/api/v1/enterprise", b"{}", content_type="application/json", CONTENT_LENGTH=length
    )
    assert_refused_body(response)


def test_body__too_large__is_400_naming_the_body(api):
    body = b"x" * (live_settings.API_BODY_LIMIT_BYTES + 1)
    assert_refused_body(api.post("/api/v1/enterprise", body, content_type="application/json"))
    # Even to those who have no key: nothing is read.
    assert_refused_body(Client().post("/api/v1/enterprise", body, content_type="application/json"))


def test_body__as_large_as_may_be__reaches_the_view(api):
    body = b"x" * live_settings.API_BODY_LIMIT_BYTES
    response = api.post("/api/v1/enterprise", body, content_type="application/json")
    assert response.status_code == 405


def assert_refused_body(response: Any) -> None:
    assert response.status_code == 400
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    body = response.json()
    assert body["code"] == "invalid_input"
    assert body["errors"][0]["field"] == "body"
    assert body["errors"][0]["code"] == "too_large"
    assert body["request_id"] == response.headers["X-Request-ID"]


def test_host__unknown__is_400_as_a_problem(settings):
    settings.ALLOWED_HOSTS = ["api.example.com"]
    response = Client().get("/api/v1/enterprise", headers={"Host": "evil.example.org"})
    assert response.status_code == 400
    assert response.headers["Content-Type"] == PROBLEM_CONTENT_TYPE
    assert "evil" not in response.content.decode()


@pytest.mark.parametrize("path", ["/api/v1/enterprise", "/healthz", "/api/docs", "/nowhere"])
def test_role__outside_of_the_admin__is_the_runtime_role(path, monkeypatch):
    seen = []

    def note(request: Any) -> str:
        seen.append(tenancy.current_alias())
        return ""

    monkeypatch.setattr(middleware, "client_address", note)
    Client().get(path)
    assert seen == ["default"]
    assert tenancy.current_alias() == "default"


@pytest.mark.parametrize("path", ["/Admin/", "/api/../admin/", "/api/v1/%2e%2e/admin/", "/admin"])
def test_role__paths_that_look_like_the_admins__lead_nowhere(path):
    assert Client().get(path).status_code in {400, 404}
