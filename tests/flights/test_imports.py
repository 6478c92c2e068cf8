"""Private offers by file: received once, loaded whole or not at all, refused line by line."""

from __future__ import annotations

import errno
import gzip
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.flights import imports
from apps.flights.models import EnterpriseFlight, FlightLayover, OfferImport, OfferReject
from apps.flights.offers.lines import LONGEST_LINE, Unreadable, lines
from apps.flights.tasks import load_offer_imports, purge_offer_imports, resume_offer_imports
from apps.tenants.models import Enterprise, Scope
from apps.tenants.offboarding import advance_offboarding, start_offboarding
from layoverhq.tenancy import operator_scope
from tests.flights.factories import domestic_ground_minutes
from tests.flights.offers import day_ahead, line, with_segment
from tests.tenants import factories as tenants

IMPORT = "/api/v1/flights/import"
NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
def queued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been sent to the worker."""
    sent: list[str] = []
    monkeypatch.setattr(
        imports.current_app, "send_task", lambda name, kwargs: sent.append(kwargs["enterprise_id"])
    )
    return sent


def send(api: Client, body: bytes, **headers: str) -> Any:
    return api.post(IMPORT, body, content_type=NDJSON, headers=headers)


def sent(api: Client, body: bytes, **headers: str) -> dict[str, Any]:
    response = send(api, body, **headers)
    assert response.status_code == 202, response.content
    job: dict[str, Any] = response.json()
    return job


def asked(api: Client, job: dict[str, Any], **query: Any) -> dict[str, Any]:
    response = api.get(f"{IMPORT}/{job['id']}", query)
    assert response.status_code == 200, response.content
    page: dict[str, Any] = response.json()
    return page


def loaded(api: Client, enterprise: Enterprise, body: bytes, **headers: str) -> dict[str, Any]:
    """Send a body, let the worker work, and return what the job came to."""
    job = sent(api, body, **headers)
    load_offer_imports(enterprise_id=str(enterprise.pk))
    return asked(api, job)


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    return (job["inserted"], job["updated"], job["unchanged"], job["rejected"])


def offers(enterprise: Enterprise) -> list[EnterpriseFlight]:
    with operator_scope():
        return list(EnterpriseFlight.objects.filter(enterprise=enterprise).order_by("price_minor"))


def versions(enterprise: Enterprise) -> list[tuple[str, str]]:
    """Return the rows' physical versions: a write makes a new one."""
    with connections["operator"].cursor() as cursor:
        cursor.execute(
            "select xmin::text, ctid::text from enterprise_flights where enterprise_id = %s"
            " union all"
            " select xmin::text, ctid::text from flight_layovers where enterprise_id = %s",
            [enterprise.pk, enterprise.pk],
        )
        return sorted(cursor.fetchall())


def problem_fields(response: Any, status: int = 400) -> dict[str, str]:
    assert response.status_code == status, response.content
    return {error["field"]: error["code"] for error in response.json()["errors"]}


def test_import__good_lines__are_offers_that_only_its_sender_finds(
    api, enterprise, other_enterprise, queued
):
    job = sent(api, line())
    assert (job["status"], job["percent"]) == ("queued", 0)
    assert queued == [str(enterprise.pk)]
    load_offer_imports(enterprise_id=str(enterprise.pk))
    done = asked(api, job)
    assert (done["status"], done["percent"], done["lines_done"]) == ("done", 100, 1)
    assert counts(done) == (1, 0, 0, 0)

    search = {
        "origin": "SFO",
        "destination": "JFK",
        "departure_date": day_ahead(),
        "via": "DEN",
        "layover": "8h..9h",
    }
    (found,) = api.get("/api/v1/flights/search", search).json()["results"]
    assert found["private"] is True
    assert (found["provider"], found["price_minor"]) == ("import", 41_250)
    assert found["layovers"] == [
        {
            "airport": "DEN",
            "minutes": 505,
            "usable_minutes": 505 - domestic_ground_minutes("DEN"),
            "daylight_minutes": 505 - domestic_ground_minutes("DEN"),
        }
    ]
    assert found["segments"][0]["flight_number"] == "UA 100"
    assert found["modelled"] == []
    strangers = tenants.make_client(other_enterprise)
    assert found["id"] not in strangers.get("/api/v1/flights/search", search).content.decode()
    with operator_scope():
        (place,) = FlightLayover.objects.filter(enterprise=enterprise)
        assert (str(place.flight_id), place.airport, place.minutes) == (found["id"], "DEN", 505)
        assert OfferImport.objects.get(pk=job["id"]).file == ""


def test_import__refused_lines__are_named_and_the_rest_is_loaded(api, enterprise):
    body = b"".join(
        [
            b"\xef\xbb\xbf" + line(),
            b"\n",
            line(price="-3.00"),
            b'{"price": "\xe9"}\r\n',
            line(segments=with_segment(0, origin="QQQ")),
            b'"' + b"x" * LONGEST_LINE + b'"\n',
            line(price="99.00", provider="second"),
            line(price="98.00"),
            line(currency="GEL").rstrip(b"\n"),
        ]
    )
    done = loaded(api, enterprise, body)
    assert counts(done) == (2, 0, 0, 6)
    assert done["lines_done"] == 9
    assert [(error["line"], error["reason"], error["field"]) for error in done["errors"]] == [
        (3, "negative_price", "price"),
        (4, "not_utf8", ""),
        (5, "unknown_airport", "segments[0].origin"),
        (6, "line_too_long", ""),
        (8, "duplicate", ""),
        (9, "no_rate", "currency"),
    ]
    assert done["errors"][1]["excerpt"] == '{"price": "\N{REPLACEMENT CHARACTER}"}'
    assert len(done["errors"][3]["excerpt"]) == 200
    assert [offer.price_minor for offer in offers(enterprise)] == [9_900, 41_250]


def test_import__more_rejects_than_a_page__are_paged(api, enterprise):
    first = loaded(api, enterprise, b"{\n" * 130)
    assert first["rejected"] == 130
    assert [error["line"] for error in first["errors"]] == list(range(1, 101))
    second = asked(api, first, after=first["next"])
    assert [error["line"] for error in second["errors"]] == list(range(101, 131))
    assert second["next"] is None


def test_import__sent_again_later__writes_nothing(api, enterprise):
    body = line() + line(provider="second")
    loaded(api, enterprise, body)
    before = versions(enterprise)
    assert len(before) == 4
    again = loaded(api, enterprise, body, **{"Idempotency-Key": "later"})
    assert counts(again) == (0, 0, 2, 0)
    assert versions(enterprise) == before


def test_import__new_price_or_terminal__changes_the_offer_that_stands(api, enterprise):
    loaded(api, enterprise, line())
    (before,) = offers(enterprise)
    segments = with_segment(0, destination_terminal="A")
    segments[1]["origin_terminal"] = "B"
    done = loaded(api, enterprise, line(price="300.00", segments=segments))
    assert counts(done) == (0, 1, 0, 0)
    (after,) = offers(enterprise)
    assert (after.pk, after.price_minor) == (before.pk, 30_000)
    assert after.seen_at > before.seen_at
    (layover,) = after.layovers
    assert (layover["minutes"], layover["terminal_change"]) == (505, True)
    assert after.terminal_change


def test_import__same_body_again__is_the_same_job(api, queued):
    job = sent(api, line())
    assert sent(api, line())["id"] == job["id"]
    assert len(queued) == 1


def test_import__older_body_after_another__is_loaded_again(api, enterprise):
    loaded(api, enterprise, line(price="100.00"))
    loaded(api, enterprise, line(price="200.00"))
    assert counts(loaded(api, enterprise, line(price="100.00"))) == (0, 1, 0, 0)
    assert [offer.price_minor for offer in offers(enterprise)] == [10_000]


def test_import__idempotency_key__names_one_body(api, enterprise):
    key = {"Idempotency-Key": "night-2026-12-01"}
    job = sent(api, line(), **key)
    sent(api, line(price="1.00"))
    assert sent(api, line(), **key)["id"] == job["id"]
    response = send(api, line(price="2.00"), **key)
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
    assert problem_fields(send(api, line(), **{"Idempotency-Key": "a b"})) == {
        "Idempotency-Key": "invalid"
    }
    with operator_scope():
        assert OfferImport.objects.filter(enterprise=enterprise).count() == 2


def test_import__several_waiting__are_loaded_in_the_order_of_arrival(api, enterprise):
    jobs = [sent(api, line(price=f"{price}.00")) for price in (1, 2, 3)]
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert [counts(asked(api, job))[:2] for job in jobs] == [(1, 0), (0, 1), (0, 1)]
    assert [offer.price_minor for offer in offers(enterprise)] == [300]


def test_import__gzip__is_loaded_with_and_without_its_header(api, enterprise):
    # Two members in one file, as `cat a.gz b.gz` makes it.
    body = gzip.compress(line()) + gzip.compress(line(provider="second"))
    done = loaded(api, enterprise, body, **{"Content-Encoding": "gzip"})
    assert counts(done) == (2, 0, 0, 0)
    done = loaded(api, enterprise, gzip.compress(line(provider="third")))
    assert counts(done) == (1, 0, 0, 0)
    assert problem_fields(send(api, line(), **{"Content-Encoding": "gzip"})) == {"body": "not_gzip"}
    assert send(api, line(), **{"Content-Encoding": "br"}).status_code == 415


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda packed: packed[: len(packed) - 12], "truncated_gzip"),
        (lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:], "broken_gzip"),
        (lambda packed: packed[:2] + b"<html>no gzip at all</html>", "broken_gzip"),
    ],
)
def test_import__damaged_gzip__loads_nothing_and_says_why(api, enterprise, damage, code):
    packed = gzip.compress(b"".join(line(provider=f"p{number}") for number in range(50)))
    done = loaded(api, enterprise, damage(packed))
    assert (done["status"], done["problem"]["code"]) == ("failed", code)
    assert counts(done)[:3] == (0, 0, 0)
    assert offers(enterprise) == []
    # Sent again whole, it is another job.
    assert counts(loaded(api, enterprise, packed)) == (50, 0, 0, 0)


def test_import__more_than_may_be_unpacked__loads_nothing(api, enterprise, settings):
    settings.IMPORT_UNPACKED_LIMIT_BYTES = 1_000_000
    done = loaded(api, enterprise, gzip.compress(line() + b"x" * 2_000_000))
    assert (done["status"], done["problem"]["code"]) == ("failed", "too_large")
    assert offers(enterprise) == []


def test_lines__one_without_end__is_skipped_and_never_held():
    class Endless(io.RawIOBase):
        """Two gigabytes in one line, then a short one."""

        left = 2 * 2**30
        longest = 0

        def readable(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= LONGEST_LINE + 1
            if self.left > 0:
                self.left -= size
                return b"x" * size if self.left > 0 else b"\n"
            return self.read(size)

        def read(self, size: int = -1, /) -> bytes:
            given, self.rest = self.rest[:size], self.rest[size:]
            return given

        def seek(self, *_: Any) -> int:
            self.rest = b"{}\n"
            return 0

        rest = b"{}"

    first, second = lines(Endless(), most_bytes=3 * 2**30)  # type: ignore[arg-type]
    assert first.refusal is not None
    assert (first.refusal.reason, len(first.text)) == ("line_too_long", 200)
    assert (second.number, second.text, second.refusal) == (2, b"{}", None)
    with pytest.raises(Unreadable):
        list(lines(Endless(), most_bytes=2**20))  # type: ignore[arg-type]


def test_import__no_body_or_another_type__is_refused(api):
    assert problem_fields(send(api, b"")) == {"body": "required"}
    response = api.post(IMPORT, line(), content_type="text/plain")
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert problem_fields(api.post(f"{IMPORT}?a=1", line(), content_type=NDJSON)) == {
        "a": "unknown"
    }


def test_import__larger_than_the_limit__is_refused_before_it_is_read(api, enterprise, settings):
    settings.API_BODY_LIMITS = {IMPORT: 100}
    assert problem_fields(send(api, line())) == {"body": "too_large"}
    with operator_scope():
        assert not OfferImport.objects.filter(enterprise=enterprise).exists()


def test_import__larger_than_other_bodies_may_be__is_taken(api, enterprise, settings):
    settings.API_BODY_LIMIT_BYTES = 100
    assert counts(loaded(api, enterprise, line())) == (1, 0, 0, 0)


def test_spool__connection_that_broke_off__is_incomplete():
    with pytest.raises(imports.InvalidInput) as caught:
        imports.spool(io.BytesIO(b"{}"), expected=10)
    assert caught.value.errors[0].code == "incomplete"


def test_import__too_many_waiting__is_429(api, enterprise, monkeypatch):
    monkeypatch.setattr(imports, "MAXIMUM_WAITING", 1)
    sent(api, line())
    response = send(api, line(price="1.00"))
    assert (response.status_code, response.json()["code"]) == (429, "too_many_imports")
    assert response["Retry-After"] == "60"
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert send(api, line(price="1.00")).status_code == 202


def test_import__reading_key__is_403(enterprise):
    client = tenants.make_client(enterprise, [Scope.FLIGHTS_READ])
    assert send(client, line()).json()["code"] == "scope_missing"
    with operator_scope():
        assert not OfferImport.objects.filter(enterprise=enterprise).exists()


def test_import__another_enterprises__is_404(api, other_enterprise):
    job = sent(api, line())
    stranger = tenants.make_client(other_enterprise)
    assert stranger.get(f"{IMPORT}/{job['id']}").status_code == 404


@pytest.mark.parametrize("after", ["-1", "x", "1" * 30, "١"])
def test_import__unusable_page__is_named(api, after):
    job = sent(api, line())
    assert problem_fields(api.get(f"{IMPORT}/{job['id']}", {"after": after})) == {
        "after": "invalid"
    }


class Killed(BaseException):
    """The worker is gone."""


def test_load__worker_killed_meanwhile__is_begun_again(api, enterprise, monkeypatch):
    job = sent(api, b"".join(line(provider=f"p{number}") for number in range(20)))

    def killed(*_: Any, **__: Any) -> Iterator[Any]:
        yield from list(lines(*_, **__))[:10]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(imports, "lines", killed)
        with pytest.raises(Killed):
            load_offer_imports(enterprise_id=str(enterprise.pk))
    assert asked(api, job)["status"] == "loading"
    assert offers(enterprise) == []

    with operator_scope():
        OfferImport.objects.filter(pk=job["id"]).update(
            created_at=timezone.now() - timedelta(hours=1)
        )
    taken: list[str] = []
    monkeypatch.setattr(
        load_offer_imports, "delay", lambda enterprise_id: taken.append(enterprise_id)
    )
    resume_offer_imports()
    assert str(enterprise.pk) in taken
    load_offer_imports(enterprise_id=str(enterprise.pk))
    done = asked(api, job)
    assert (done["status"], done["inserted"], done["rejected"]) == ("done", 20, 0)


def test_load__that_always_dies__is_given_up(api, enterprise, monkeypatch):
    job = sent(api, line())
    following = sent(api, line(price="1.00"))

    def killed(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(imports, "lines", killed)
        for _ in range(imports.MAXIMUM_ATTEMPTS):
            with pytest.raises(Killed):
                load_offer_imports(enterprise_id=str(enterprise.pk))
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert asked(api, job)["problem"]["code"] == "gave_up"
    assert asked(api, following)["inserted"] == 1


def test_load__another_worker_at_it__leaves_it_alone(api, enterprise):
    job = sent(api, line())
    with operator_scope(), imports._sole(enterprise.pk) as alone:
        assert alone
        assert imports.load_offer_imports(enterprise_id=enterprise.pk) == 0
    assert asked(api, job)["status"] == "queued"


def test_load__file_that_is_gone__fails_by_name(api, enterprise):
    job = sent(api, line())
    with operator_scope():
        default_storage.delete(OfferImport.objects.get(pk=job["id"]).file)
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert asked(api, job)["problem"]["code"] == "file_lost"


def test_load__enterprise_that_leaves__takes_no_offers_and_is_erased_whole(api, enterprise):
    job = sent(api, line() + b"{\n")
    with operator_scope():
        stored = OfferImport.objects.get(pk=job["id"]).file
        offboarding = start_offboarding(enterprise=enterprise)
    load_offer_imports(enterprise_id=str(enterprise.pk))
    with operator_scope():
        failed = OfferImport.objects.get(pk=job["id"])
        assert (failed.status, failed.problem_code) == ("failed", "enterprise_leaving")
        advance_offboarding(offboarding_id=offboarding.pk)
        offboarding.refresh_from_db()
        assert offboarding.stage == "exported"
    assert not default_storage.exists(stored)
    assert offers(enterprise) == []


def test_purge__after_thirty_days__leaves_the_offers(api, enterprise):
    old = loaded(api, enterprise, line() + b"{\n")
    new = loaded(api, enterprise, line(price="1.00"))
    waiting = sent(api, line(price="2.00"))
    with operator_scope():
        OfferImport.objects.filter(pk=old["id"]).update(
            finished_at=timezone.now() - timedelta(days=31)
        )
    purge_offer_imports()
    with operator_scope():
        left = OfferImport.objects.filter(enterprise=enterprise).values_list("pk", flat=True)
        assert set(left) == {UUID(new["id"]), UUID(waiting["id"])}
        assert not OfferReject.objects.filter(enterprise=enterprise).exists()
    assert len(offers(enterprise)) == 1


def test_admin__imports__show_progress_and_refused_lines_and_change_nothing(
    api, enterprise, admin_client
):
    done = loaded(api, enterprise, line() + line(price="-3.00"))
    waiting = sent(api, line(price="2.00"))
    address = "/admin/flights/offerimport/"
    listed = admin_client.get(address, {"enterprise": enterprise.slug}).content.decode()
    assert f"{address}{done['id']}/change/" in listed
    assert f"{address}{waiting['id']}/change/" in listed
    assert "Queued" in listed

    page = admin_client.get(f"{address}{done['id']}/change/").content.decode()
    assert "negative_price" in page
    assert "A price is not negative." in page
    assert "hx-get" not in page.partition('id="progress"')[2].partition("</div>")[0]
    moving = admin_client.get(f"{address}{waiting['id']}/change/").content.decode()
    assert f'hx-get="{address}{waiting["id"]}/change/"' in moving

    assert admin_client.get(f"{address}add/").status_code == 403
    admin_client.post(f"{address}{done['id']}/delete/", {"post": "yes"})
    assert asked(api, done)["status"] == "done"


def test_admin__import_that_failed__says_why(api, enterprise, admin_client):
    done = loaded(api, enterprise, gzip.compress(line())[:-9])
    page = admin_client.get(f"/admin/flights/offerimport/{done['id']}/change/").content.decode()
    assert "truncated_gzip: The gzip ends before its end." in page


ADDRESS = "/admin/flights/offerimport/"
ASKED = {"_form_submitted": "1", "reason": "Customer asked"}


def last_event(job: dict[str, Any]) -> AuditEvent:
    with operator_scope():
        return AuditEvent.objects.filter(table_name="offer_imports", row_id=job["id"]).latest("id")


def test_cancel__waiting_import__loads_nothing_and_can_be_loaded_after_all(
    api, enterprise, admin_client, queued
):
    job = sent(api, line())
    admin_client.post(f"{ADDRESS}{job['id']}/cancel/", ASKED)
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert asked(api, job)["problem"]["code"] == "cancelled"
    assert last_event(job).reason == "Customer asked"
    assert offers(enterprise) == []

    admin_client.post(f"{ADDRESS}{job['id']}/retry/", {**ASKED, "reason": "After all"})
    assert asked(api, job)["status"] == "queued"
    assert last_event(job).reason == "After all"
    assert queued == [str(enterprise.pk)] * 2
    load_offer_imports(enterprise_id=str(enterprise.pk))
    assert counts(asked(api, job)) == (1, 0, 0, 0)


def test_cancel__import_that_is_loaded__stops_it_and_leaves_nothing(api, enterprise, monkeypatch):
    monkeypatch.setattr(imports, "CHUNK_LINES", 5)
    job = sent(api, b"".join(line(provider=f"p{number}") for number in range(30)))

    def cancelled(*arguments: Any, **named: Any) -> Iterator[Any]:
        for read in lines(*arguments, **named):
            if read.number == 12:
                with operator_scope():
                    imports.cancel_import(
                        job=OfferImport.objects.get(pk=job["id"]), now=timezone.now()
                    )
                # The reader's thread has a connection of its own here, and only here.
                connections["operator"].close()
            yield read

    with monkeypatch.context() as patch:
        patch.setattr(imports, "lines", cancelled)
        load_offer_imports(enterprise_id=str(enterprise.pk))
    done = asked(api, job)
    assert (done["status"], done["problem"]["code"]) == ("failed", "cancelled")
    assert offers(enterprise) == []


def test_load__many_pieces__are_one_import(api, enterprise, monkeypatch):
    monkeypatch.setattr(imports, "CHUNK_LINES", 7)
    body = [line(provider=f"p{number}") for number in range(40)]
    body[20] = body[3]
    body[30] = b"{}\n"
    done = loaded(api, enterprise, b"".join(body))
    assert (counts(done), done["lines_done"]) == ((38, 0, 0, 2), 40)
    assert [(error["line"], error["reason"], error["detail"]) for error in done["errors"]] == [
        (21, "duplicate", "Line 4 has the same offer."),
        (31, "missing", "Give a list of segments."),
    ]
    stored = offers(enterprise)
    assert len(stored) == 38
    assert {offer.pk.version for offer in stored} == {7}


def test_load__last_piece_is_unreadable__nothing_of_it_stands(api, enterprise, monkeypatch):
    monkeypatch.setattr(imports, "CHUNK_LINES", 50)
    packed = gzip.compress(b"".join(line(provider=f"p{number}") for number in range(500)))
    done = loaded(api, enterprise, packed[:-20])
    assert (done["status"], done["problem"]["code"]) == ("failed", "truncated_gzip")
    assert offers(enterprise) == []
    with operator_scope():
        assert not FlightLayover.objects.filter(enterprise=enterprise).exists()


def test_retry__older_than_what_is_loaded__is_refused(api, enterprise, admin_client):
    old = sent(api, line(price="1.00"))
    admin_client.post(f"{ADDRESS}{old['id']}/cancel/", ASKED)
    loaded(api, enterprise, line(price="2.00"))
    page = admin_client.post(f"{ADDRESS}{old['id']}/retry/", ASKED, follow=True).content.decode()
    assert "is older than one that is loaded" in page
    assert asked(api, old)["status"] == "failed"
    assert [offer.price_minor for offer in offers(enterprise)] == [200]


def test_cancel__from_the_list__skips_what_has_ended(api, enterprise, admin_client):
    done = loaded(api, enterprise, line())
    waiting = sent(api, line(price="1.00"))
    selected = {"action": "cancel_selected", "_selected_action": [done["id"], waiting["id"]]}
    page = admin_client.post(ADDRESS, selected).content.decode()
    assert "has ended" in page
    admin_client.post(ADDRESS, {**selected, **ASKED, "confirmed": "1"})
    assert asked(api, done)["status"] == "done"
    assert asked(api, waiting)["problem"]["code"] == "cancelled"


@pytest.mark.parametrize(("group", "status"), [("Import operators", 302), ("Import viewers", 403)])
def test_cancel__group__may_what_its_name_says(api, group, status):
    job = sent(api, line())
    operator = tenants.make_operator(superuser=False)
    with operator_scope():
        operator.groups.add(Group.objects.get(name=group))
    client = tenants.make_admin_client(operator)
    assert client.get(f"{ADDRESS}{job['id']}/change/").status_code == 200
    assert client.post(f"{ADDRESS}{job['id']}/cancel/", ASKED).status_code == status
    assert asked(api, job)["status"] == ("failed" if status == 302 else "queued")


def test_admin__refused_lines__are_counted_by_reason(api, enterprise, admin_client):
    done = loaded(api, enterprise, b"{\n" * 3 + line(price="-1.00"))
    page = admin_client.get(f"{ADDRESS}{done['id']}/change/").content.decode()
    bars = page.partition('id="reasons"')[2].partition("</table>")[0]
    assert bars.index("not_json") < bars.index("negative_price")
    assert "3 lines, 75 %" in bars
    assert "1 line, 25 %" in bars


def test_purge__kept_files__go_after_a_week(api, enterprise):
    job = sent(api, line())
    with operator_scope():
        imports.cancel_import(job=OfferImport.objects.get(pk=job["id"]), now=timezone.now())
        stored = OfferImport.objects.get(pk=job["id"]).file
    purge_offer_imports()
    assert default_storage.exists(stored)
    with operator_scope():
        OfferImport.objects.filter(pk=job["id"]).update(
            finished_at=timezone.now() - timedelta(days=8)
        )
    purge_offer_imports()
    assert not default_storage.exists(stored)


def test_import__disk_is_full__is_503_and_what_was_written_of_it_goes(api, enterprise, monkeypatch):
    left = f"imports/{enterprise.pk}/cut-off.ndjson"
    default_storage.save(left, ContentFile(b"{"))

    def full(*args: Any, **options: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(default_storage, "save", full)
        response = send(api, line())
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert "stored" in response.json()["detail"]
    purge_offer_imports()
    assert default_storage.exists(left)
    waiting = sent(api, line())
    with operator_scope():
        stored = OfferImport.objects.get(pk=waiting["id"]).file
        imports.purge_offer_imports(now=timezone.now() + timedelta(days=2))
    assert not default_storage.exists(left)
    assert default_storage.exists(stored)


def test_purge__body_that_goes_meanwhile__is_no_fault(enterprise, monkeypatch):
    stray = default_storage.save(f"imports/{enterprise.pk}/cut-off.ndjson", ContentFile(b"{"))
    asked: list[str] = []

    def gone(name: str) -> Any:
        asked.append(name)
        raise FileNotFoundError(name)

    monkeypatch.setattr(default_storage, "get_modified_time", gone)
    purge_offer_imports()
    assert stray in asked


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"departs_at": "2027-03-14T02:30"}, "nonexistent_time"),
        ({"departs_at": "2027-11-07T01:30"}, "ambiguous_time"),
        ({"arrives_at": f"{day_ahead()}T05:00"}, "arrival_before_departure"),
        ({"origin": "QQQ"}, "unknown_airport"),
    ],
)
def test_import__line_that_cannot_be__is_named_and_the_rest_is_loaded(
    api, enterprise, changes, reason
):
    done = loaded(api, enterprise, line(segments=with_segment(0, **changes)) + line())
    assert counts(done) == (1, 0, 0, 1)
    assert [(error["line"], error["reason"]) for error in done["errors"]] == [(1, reason)]
