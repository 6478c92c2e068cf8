"""Exchange rates: fetched, loaded, entered; and what is converted by them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
import stamina
from django.contrib.auth.models import Group
from django.db import IntegrityError, connections
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit.models import AuditEvent
from apps.flights import rate_operations, tasks
from apps.flights.airports import ground
from apps.flights.ecb import Unusable, rates_of_document, rates_of_file
from apps.flights.models import EnterpriseFlight, ExchangeRate, ExchangeRateFetch, FlightLayover
from apps.flights.rate_operations import (
    enter_rate,
    fetch_rates,
    load_rates,
    note_rates,
    reprice_offers,
)
from apps.flights.rates import NoRate, StaleRate, convert, rates, shown
from layoverhq.errors import InvalidInput
from layoverhq.tenancy import operator_scope
from tests.flights import rates as ecb
from tests.flights.factories import domestic_ground_minutes
from tests.flights.offers import line
from tests.flights.test_imports import counts, loaded, offers, queued  # noqa: F401
from tests.tenants import factories as tenants

NOW = timezone.now()
TODAY = NOW.date()


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The seed's rates alone, before and after."""
    yield
    with operator_scope():
        ExchangeRate.objects.filter(noted_at__gte=NOW - timedelta(minutes=5)).filter(
            rate_date__gt=date(2026, 10, 30)
        ).delete()
        ExchangeRateFetch.objects.all().delete()
    rates.forget()


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Nobody waits between attempts."""
    with stamina.set_testing(True, attempts=2):
        yield


def note(days: dict[date, dict[str, str]]) -> None:
    with operator_scope():
        note_rates(
            told=rates_of_document(ecb.document(days)), source=ExchangeRate.Source.ECB, now=NOW
        )
    rates.forget()


def per_euro(currency: str, day: date) -> tuple[Decimal, str] | None:
    with operator_scope():
        row = ExchangeRate.objects.filter(currency=currency, rate_date=day).first()
        return None if row is None else (row.per_euro, row.source)


def test_seed__is_what_the_ecb_published():
    with operator_scope():
        newest = ExchangeRate.objects.get(currency="USD", rate_date=date(2026, 10, 30))
        assert (newest.per_euro, newest.source) == (Decimal("1.1172"), "file")
        assert not ExchangeRate.objects.filter(currency__in=["BGN", "HRK", "RUB"]).exists()


def test_convert__between_decimals__rounds_half_to_even():
    note({TODAY: {"USD": "1.25", "JPY": "160", "KWD": "0.4"}})
    assert convert(100, "EUR", "USD", TODAY) == (125, TODAY)
    assert convert(12_500, "USD", "JPY", TODAY) == (16_000, TODAY)
    assert convert(1, "JPY", "KWD", TODAY) == (2, TODAY)  # 2.5 fils
    assert convert(3, "JPY", "KWD", TODAY) == (8, TODAY)  # 7.5
    assert convert(1_000, "KWD", "USD", TODAY) == (312, TODAY)  # 312.5 cents
    assert convert(77, "USD", "USD", TODAY) == (77, TODAY)
    assert shown("EUR", TODAY) == (Decimal("0.8"), TODAY)
    assert shown("JPY", TODAY) == (Decimal("1.28"), TODAY)


def test_convert__rates_of_two_days__tells_the_older():
    note({TODAY: {"USD": "1.25"}, TODAY - timedelta(days=2): {"JPY": "160"}})
    assert convert(100, "USD", "JPY", TODAY)[1] == TODAY - timedelta(days=2)


def test_convert__unknown_or_old__is_refused_by_name():
    note({TODAY - timedelta(days=11): {"USD": "1.25"}})
    with pytest.raises(StaleRate) as stale:
        convert(100, "EUR", "USD", TODAY)
    assert (stale.value.code, stale.value.errors[0].field) == ("stale_rate", "currency")
    assert stale.value.detail == (
        f"EUR cannot be converted to USD: the newest rate of USD to the euro is of"
        f" {TODAY - timedelta(days=11)}, over 10 days ago."
    )
    assert convert(100, "EUR", "USD", TODAY - timedelta(days=1))[0] == 125
    with pytest.raises(NoRate) as unknown:
        convert(100, "GEL", "EUR", TODAY)
    assert unknown.value.code == "no_rate"
    assert "GEL" in unknown.value.detail


def test_import__another_currency__is_priced_and_the_original_kept(api, enterprise):
    note({TODAY: {"USD": "1.1", "JPY": "170"}})
    body = line(currency="EUR", price="100.05") + line(
        currency="JPY", price="17000", provider="second"
    )
    assert counts(loaded(api, enterprise, body)) == (2, 0, 0, 0)
    stored = [
        (offer.price_minor, offer.price_currency, offer.fare_minor, offer.fare_currency)
        for offer in offers(enterprise)
    ]
    # 110.055 dollars, and of two cents the even one; 17,000 yen are 100 euros.
    assert stored == [(11_000, "USD", 17_000, "JPY"), (11_006, "USD", 10_005, "EUR")]
    assert {offer.rate_date for offer in offers(enterprise)} == {TODAY}


def test_import__same_fare_at_a_newer_rate__is_left_alone_until_it_is_due(api, enterprise):
    old = TODAY - timedelta(days=6)
    note({old: {"USD": "1.1"}})
    body = line(currency="EUR", price="100.00")
    loaded(api, enterprise, body)
    note({TODAY: {"USD": "1.2"}})
    again = loaded(api, enterprise, body, **{"Idempotency-Key": "again"})
    assert counts(again) == (0, 0, 1, 0)
    assert [(o.price_minor, o.rate_date) for o in offers(enterprise)] == [(11_000, old)]
    tasks.reprice_offers()
    assert [(o.price_minor, o.rate_date) for o in offers(enterprise)] == [(12_000, TODAY)]
    with operator_scope():
        assert reprice_offers(now=NOW) == 0


def test_import__rates_that_are_gone_stale__refuses_the_line_and_loads_the_rest(api, enterprise):
    done = loaded(api, enterprise, line(currency="EUR") + line(provider="second"))
    assert counts(done) == (1, 0, 0, 1)
    (error,) = done["errors"]
    assert (error["reason"], error["field"]) == ("stale_rate", "currency")
    assert "2026-10-30" in error["detail"]


def test_reprice__batches__reach_every_offer(api, enterprise, monkeypatch):
    monkeypatch.setattr(rate_operations, "REPRICE_BATCH", 2)
    note({TODAY - timedelta(days=8): {"USD": "1.1"}})
    loaded(api, enterprise, b"".join(line(currency="EUR", provider=f"p{n}") for n in range(5)))
    note({TODAY: {"USD": "1.2"}})
    with operator_scope():
        reprice_offers(now=NOW)
    assert {offer.rate_date for offer in offers(enterprise)} == {TODAY}


def test_reprice__without_a_usable_rate__leaves_the_price(api, enterprise):
    note({TODAY - timedelta(days=8): {"USD": "1.1"}})
    loaded(api, enterprise, line(currency="EUR", price="100.00"))
    with operator_scope():
        assert reprice_offers(now=NOW + timedelta(days=30)) == 0
    assert [offer.price_minor for offer in offers(enterprise)] == [11_000]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**11), st.decimals("0.000001", "9999", places=6))
def test_half_even__in_sql__is_pythons(minor, factor):
    exact = minor * factor
    with connections["operator"].cursor() as cursor:
        cursor.execute("select half_even(%s::bigint * %s::numeric)", [minor, factor])
        assert cursor.fetchone()[0] == int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def test_fetch__rates_that_are_weeks_old__asks_for_ninety_days_then_for_one(settings):
    days = {TODAY - timedelta(days=shift): {"USD": "1.1", "HRK": "7.5"} for shift in range(3)}
    with ecb.bank((200, ecb.document(days))) as bank, operator_scope():
        settings.ECB_URL = bank.address
        fetch = fetch_rates(now=NOW)
        assert (fetch.changed, fetch.newest_date, fetch.problem_code) == (3, TODAY, "")
        again = fetch_rates(now=NOW)
        assert again.changed == 0
        assert bank.asked == ["/eurofxref-hist-90d.xml", "/eurofxref-daily.xml"]
    assert per_euro("USD", TODAY) == (Decimal("1.1"), "ecb")
    assert per_euro("HRK", TODAY) is None


def test_fetch__server_that_recovers__is_asked_again(settings):
    good = ecb.document({TODAY: {"USD": "1.1"}})
    with ecb.bank((503, b"no"), (200, good)) as bank, operator_scope():
        settings.ECB_URL = bank.address
        assert fetch_rates(now=NOW).problem_code == ""
        assert len(bank.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, b"", "server_error"),
        (302, b"", "unexpected_status"),
        (404, b"", "refused"),
        (200, b"<html>maintenance</html>", "unusable"),
        (200, b"", "unusable"),
        (200, b"\xff\xfe", "unusable"),
        (200, ecb.document({}), "unusable"),
        (200, ecb.document({TODAY: {"USD": "-1"}}), "unusable"),
        (200, ecb.document({TODAY: {"USD": "NaN"}}), "unusable"),
        (200, ecb.document({TODAY: {"USD": "1e400"}}), "unusable"),
        (200, ecb.document({TODAY + timedelta(days=2): {"USD": "1.1"}}), "unusable"),
        (200, ecb.document({TODAY: {"USD": "1.1"}})[:-20], "unusable"),
        (
            200,
            b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "1.1">]>'
            + ecb.document({TODAY: {"USD": "&a;"}}).partition(b"?>")[2],
            "unusable",
        ),
    ],
)
def test_fetch__answer_that_is_no_use__is_named_and_changes_nothing(settings, status, body, code):
    with ecb.bank((status, body)) as bank:
        settings.ECB_URL = bank.address
        tasks.fetch_exchange_rates()
    with operator_scope():
        (fetch,) = ExchangeRateFetch.objects.all()
        assert (fetch.problem_code, fetch.newest_date, fetch.changed) == (code, None, 0)
        assert fetch.problem
        assert not ExchangeRate.objects.filter(rate_date__gt=date(2026, 10, 30)).exists()


def test_fetch__nobody_there__is_named(settings):
    with ecb.bank((200, b"")) as bank:
        settings.ECB_URL = bank.address
    with operator_scope():
        assert fetch_rates(now=NOW).problem_code == "connection"


def zipped(*files: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return packed.getvalue()


def table(day: date, usd: str = "1.1") -> bytes:
    return f"Date,USD,JPY,BGN,\n{day},{usd},N/A,1.9558,\n2001-01-02,0.9,100,N/A,\n".encode()


def test_load__file_or_its_zip__takes_what_is_recent_and_new():
    with operator_scope():
        told = load_rates(table=zipped(("h.csv", table(TODAY))), now=NOW, dry_run=True)
        assert (len(told.new), len(told.changed), told.unchanged) == (1, 0, 0)
        assert per_euro("USD", TODAY) is None
        assert load_rates(table=table(TODAY), now=NOW, dry_run=False).count == 1
        assert load_rates(table=table(TODAY), now=NOW, dry_run=False).count == 0
        changed = load_rates(table=table(TODAY, "1.2"), now=NOW, dry_run=False)
        assert [rate.per_euro for rate in changed.changed] == [Decimal("1.2")]
        assert not ExchangeRate.objects.filter(rate_date=date(2001, 1, 2)).exists()


def test_load__xml__is_taken_as_the_table_is():
    days = {TODAY: {"USD": "1.1"}, TODAY - timedelta(days=401): {"USD": "1.0"}}
    for file in (ecb.document(days), zipped(("h.xml", b"\xef\xbb\xbf" + ecb.document(days)))):
        with operator_scope():
            told = load_rates(table=file, now=NOW, dry_run=True)
        assert [(rate.day, rate.per_euro) for rate in told.new] == [(TODAY, Decimal("1.1"))]


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"<html>maintenance</html>",
        b"\xff",
        b"Day,USD\n2026-11-20,1.1\n",
        b"Date,USD\n2026-11-20\n",
        b"Date,USD\nyesterday,1.1\n",
        b"Date,USD\n2026-11-20,much\n",
        b"Date,USD,USD\n2026-11-20,1.1,1.2\n",
        b"PK\3\4 no zip",
        zipped(("a.csv", table(TODAY)), ("b.csv", table(TODAY))),
    ],
)
def test_load__unusable_file__is_refused_and_changes_nothing(given):
    with operator_scope(), pytest.raises(InvalidInput) as caught:
        load_rates(table=given, now=NOW, dry_run=False)
    assert caught.value.errors[0].field == "file"


def test_table__of_a_zip_bomb__is_refused():
    with pytest.raises(Unusable):
        rates_of_file(zipped(("h.csv", b"Date,USD\n" + b"," * 17_000_000)))


def test_enter__by_hand__is_refused_by_the_field():
    with operator_scope():
        with pytest.raises(InvalidInput) as caught:
            enter_rate(currency="EUR", day=TODAY + timedelta(days=1), per_euro=Decimal(0), now=NOW)
        fields = {fault.field for fault in caught.value.errors}
        assert fields == {"currency", "rate_date", "per_euro"}


def test_enter__what_the_ecb_tells_later__takes_its_place():
    with operator_scope():
        enter_rate(currency="USD", day=TODAY, per_euro=Decimal("1.5"), now=NOW)
    assert per_euro("USD", TODAY) == (Decimal("1.5"), "manual")
    note({TODAY: {"USD": "1.1"}})
    assert per_euro("USD", TODAY) == (Decimal("1.1"), "ecb")


@pytest.mark.parametrize(
    "statement",
    [
        "update exchange_rates set per_euro = 0",
        "update exchange_rates set currency = 'EUR' where currency = 'USD'",
    ],
)
def test_table__rate_that_cannot_be__is_refused_by_the_database(statement):
    with (
        operator_scope(),
        pytest.raises(IntegrityError),
        connections["operator"].cursor() as cursor,
    ):
        cursor.execute(statement)


ADMIN = "/admin/flights/exchangerate/"


def test_admin__list__says_how_old_the_rates_are(admin_client):
    page = admin_client.get(ADMIN).content.decode()
    assert "The newest rate is of 2026-10-30" in page
    assert "Offers in other currencies are refused" in page
    assert "Nothing was ever fetched here." in page
    assert 'id="old-rates"' not in page
    note({TODAY: {"USD": "1.1"}})
    page = admin_client.get(ADMIN, {"currency": "usd"}).content.decode()
    assert f"The newest rate is of {TODAY}, 0 days ago." in page
    old = page.partition('id="old-rates"')[2].partition("</p>")[0]
    assert "JPY (2026-10-30)" in old
    assert "USD" not in old
    assert "1.1 USD" in page
    assert "JPY" not in page.partition('id="result_list"')[2]


def test_admin__fetch__is_queued_and_its_failure_shown(admin_client, settings, monkeypatch):
    sent: list[str] = []
    monkeypatch.setattr("apps.flights.admin.rates.enqueue", sent.append)
    admin_client.post(f"{ADMIN}fetch/", {"_form_submitted": "1"})
    assert sent == ["apps.flights.tasks.fetch_exchange_rates"]
    with ecb.bank((500, b"")) as bank:
        settings.ECB_URL = bank.address
        tasks.fetch_exchange_rates()
    assert "server_error: It answered 500." in admin_client.get(ADMIN).content.decode()


def test_admin__rate_by_hand__is_stored_with_its_reason(admin_client):
    wrong = {
        "currency": "EUR",
        "rate_date": str(TODAY),
        "per_euro": "1",
        "reason": "no network",
        "_form_submitted": "1",
    }
    refused = admin_client.post(f"{ADMIN}enter/", wrong).content.decode()
    assert "Give a code of ISO 4217 besides EUR." in refused
    admin_client.post(f"{ADMIN}enter/", {**wrong, "currency": "usd", "per_euro": "1.17"})
    assert per_euro("USD", TODAY) == (Decimal("1.17"), "manual")
    with operator_scope():
        event = AuditEvent.objects.filter(table_name="exchange_rates").order_by("-id").first()
        assert event is not None
        assert event.reason == "no network"


def test_admin__file__is_shown_before_it_is_loaded(admin_client):
    def upload(content: bytes) -> Any:
        file = io.BytesIO(content)
        file.name = "eurofxref-hist.csv"
        return admin_client.post(f"{ADMIN}load/", {"file": file})

    page = upload(table(TODAY)).content.decode()
    assert "1 rate would be new, 0 would change, 0 stand so already." in page
    assert per_euro("USD", TODAY) is None
    text = page.partition('<textarea name="text" hidden>')[2].partition("</textarea>")[0]
    confirmed = {"text": text, "confirmed": "1", "reason": "machine without internet"}
    missing = admin_client.post(f"{ADMIN}load/", {**confirmed, "reason": ""})
    assert "This field is required." in missing.content.decode()
    admin_client.post(f"{ADMIN}load/", confirmed)
    assert per_euro("USD", TODAY) == (Decimal("1.1"), "file")
    assert "is no rate" in upload(b"Date,USD\n2026-11-20,much\n").content.decode()


def test_admin__one_rate__draws_its_currency(admin_client):
    with operator_scope():
        rate = ExchangeRate.objects.get(currency="USD", rate_date=date(2026, 10, 30))
    page = admin_client.get(f"{ADMIN}{rate.pk}/change/").content.decode()
    assert "USD for one euro on 30 days" in page
    assert "1.1172" in page


@pytest.mark.parametrize(
    ("group", "status"), [("Exchange rate editors", 302), ("Import operators", 403)]
)
def test_admin__group__may_what_its_name_says(group, status):
    operator = tenants.make_operator(superuser=False)
    with operator_scope():
        operator.groups.add(Group.objects.get(name=group))
    client = tenants.make_admin_client(operator)
    told = {"currency": "USD", "rate_date": str(TODAY), "per_euro": "1.1", "reason": "because"}
    response = client.post(f"{ADMIN}enter/", {**told, "_form_submitted": "1"})
    assert response.status_code == status
    assert (per_euro("USD", TODAY) is not None) == (status == 302)


def test_import__layovers_whose_ground_time_changed__follow(api, enterprise):
    loaded(api, enterprise, line())
    before = domestic_ground_minutes("DEN")
    with operator_scope(), connections["operator"].cursor() as cursor:
        cursor.execute(
            "update airports set transfer_minutes = 60 where iata = 'DEN'"
            " returning old.transfer_minutes"
        )
        (transfer,) = cursor.fetchone()
    ground.forget()
    try:
        done = loaded(api, enterprise, line(), **{"Idempotency-Key": "slower"})
        assert counts(done) == (0, 1, 0, 0)
        with operator_scope():
            offer = EnterpriseFlight.objects.get(enterprise=enterprise)
            place = FlightLayover.objects.get(enterprise=enterprise)
        expected = 505 - before - 2 * (60 - transfer)
        assert (offer.usable_minutes, place.usable_minutes) == (expected, expected)
        assert offer.layovers[0]["usable_minutes"] == expected
    finally:
        with operator_scope(), connections["operator"].cursor() as cursor:
            cursor.execute(
                "update airports set transfer_minutes = %s where iata = 'DEN'", [transfer]
            )
        ground.forget()


def test_document__day_twice__is_refused():
    twice = ecb.document({TODAY: {"USD": "1.1"}}).replace(b"<Cube><Cube", b"<Cube>" + b"<Cube", 1)
    day = twice[twice.index(b"<Cube time") : twice.index(b"</Cube>") + 7]
    with pytest.raises(Unusable):
        rates_of_document(twice.replace(day, day + day))
