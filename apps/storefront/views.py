"""The storefront's pages. Each takes a visit; whole pages for browsers, parts for htmx."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from django.http import Http404, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import timezone

from apps.flights.grammar import HORIZON_DAYS
from apps.flights.queries import search_flights
from apps.layovers.visas import COUNTRIES
from apps.storefront import asking, assets, journeys, stays
from apps.storefront.asking import Asked
from apps.storefront.day_prices import day_prices
from apps.storefront.insight import analysed, drawn, insight
from apps.storefront.places import LONGEST_QUERY, country_names, places
from apps.storefront.queries import image_content, served_airports, sights
from apps.storefront.visiting import Visit, url

FOREVER = "public, max-age=31536000, immutable"
SUGGESTION_SECONDS = 3600
LAYOVER_SECONDS = 60
AIRPORT_FIELDS = ("origin", "destination", "via")
# An image is only ever an image, whoever opens it by itself.
IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def home(visit: Visit) -> HttpResponse:
    """Show the search form."""
    asked = asking.read(QueryDict(), places.get(), now=timezone.now())
    return visit.page("storefront/home.html", _form(asked, show_faults=False))


def search(visit: Visit) -> HttpResponse:
    """Show what was found, or what is wrong with what was asked for."""
    asked = asking.read(
        visit.request.GET,
        places.get(),
        now=timezone.now(),
        served=served_airports.get(visit.site.tenant),
    )
    if asked.is_blank:
        return HttpResponseRedirect(url("home"))
    context = _form(asked, show_faults=True)
    if asked.search is None:
        template = "results_part" if visit.wants_fragment else "search"
        return visit.page(f"storefront/{template}.html", context, status=400, keep_seconds=0)
    answer = json.loads(
        search_flights(visit.site.tenant, asked.search, context=visit.site.flag_context)
    )
    context |= _results(asked, answer)
    # The next page of a list goes below the one that has them.
    if not asked.values["cursor"]:
        context["prices"] = day_prices(asked, visit.site.tenant, places.get(), now=timezone.now())
    if not visit.wants_fragment:
        return visit.page("storefront/search.html", context)
    if asked.values["cursor"]:
        return visit.page("storefront/more_part.html", context)
    response = visit.page("storefront/results_part.html", context)
    response["HX-Push-Url"] = f"{url('search')}?{asked.query()}"
    return response


def _form(asked: Asked, *, show_faults: bool) -> dict[str, Any]:
    today = timezone.now().date()
    return {
        "asked": asked,
        "values": asked.values,
        "faults": asked.faults if show_faults else {},
        "choices": asking.CHOICES,
        "labels": asking.LABELS,
        "currencies": asking.currencies(),
        "search_url": url("search"),
        "airports_urls": {name: url("airports", name) for name in AIRPORT_FIELDS},
        "today": today.isoformat(),
        "last_day": date.fromordinal(today.toordinal() + HORIZON_DAYS).isoformat(),
    }


def _results(asked: Asked, answer: dict[str, Any]) -> dict[str, Any]:
    known = places.get()
    found = [journeys.journey(offer, known) for offer in answer["results"]]
    query = asked.query()
    empty = answer.get("empty") or {}
    origin, destination = asked.ends
    nearby = asking.days_nearby(asked, empty, today=timezone.now().date())
    return {
        "journeys": [
            (journey, [f"{url('layover')}?{address}" for address in journey.addresses(query)])
            for journey in found
        ],
        "origin": origin,
        "destination": destination,
        "first_url": f"{url('search')}?{query}" if asked.values["cursor"] else "",
        "more_url": f"{url('search')}?{asked.query(cursor=answer['next'])}"
        if answer["next"]
        else "",
        "relaxed": [
            (each, f"{url('search')}?{each.query}") for each in asking.relaxations(asked, empty)
        ],
        "days": {day: f"{url('search')}?{other}" for day, other in nearby.items()},
        "has_offers": bool(empty.get("offers")),
        "bare_url": f"{url('search')}?{asked.query(**dict.fromkeys(asking.GIVEN_UP))}",
    }


def airports(visit: Visit, field: str) -> HttpResponse:
    """Suggest airports for what was typed into a field so far."""
    if field not in AIRPORT_FIELDS:
        raise Http404
    typed = visit.request.GET.get(field, "")[:LONGEST_QUERY]
    found = places.get().suggest(typed, served=served_airports.get(visit.site.tenant))
    return visit.page(
        "storefront/airports_part.html",
        {"field": field, "typed": typed.strip(), "found": found},
        keep_seconds=SUGGESTION_SECONDS,
    )


def layover(visit: Visit) -> HttpResponse:
    """Show what a layover is worth."""
    known = places.get()
    stay = stays.read_stay(visit.request.GET, known)
    document = analysed(stay, visit.site, known, now=timezone.now())
    told = None if document is None else insight(document, stay.currency)
    context = {
        "stay": stay,
        "budget": stays.budget(stay, document),
        "told": told,
        "map": drawn(sights(visit.site.tenant, stay.place.iata), told.visits) if told else None,
        "search_url": f"{url('search')}?{stay.search}" if stay.search else "",
        "layover_url": url("layover"),
        "fields": parse_qsl(stay.but_passport),
        "countries": _passports(),
    }
    template = "layover_part" if visit.wants_fragment else "layover"
    return visit.page(f"storefront/{template}.html", context, keep_seconds=LAYOVER_SECONDS)


def _passports() -> list[tuple[str, str]]:
    """Return the countries whose passports may be asked about, by name."""
    named = ((code, name) for code, name in country_names().items() if code in COUNTRIES)
    return sorted(named, key=lambda country: country[1])


def theme(visit: Visit, digest: str) -> HttpResponse:
    """Return the brand's colours as a stylesheet; an old page's digest gets today's."""
    current = visit.brand.theme
    response = HttpResponse(current.css, content_type="text/css; charset=utf-8")
    response["Cache-Control"] = FOREVER if digest == current.digest else "no-cache"
    return response


def logo(visit: Visit, digest: str) -> HttpResponse:
    """Return the brand's logo; other images of the enterprise's are not shown."""
    content = image_content(visit.site.tenant, digest) if digest == visit.brand.logo else None
    if content is None:
        raise Http404
    return _kept(content, "image/png")


def icon(visit: Visit, digest: str) -> HttpResponse:
    """Return the icon for the browser's tab, in the brand's colour."""
    palette = visit.brand.theme.light
    response = visit.page("storefront/icon.svg", {"palette": palette})
    response["Content-Type"] = "image/svg+xml"
    response["Content-Security-Policy"] = IMAGE_POLICY
    response["Cache-Control"] = FOREVER if digest == visit.brand.theme.digest else "no-cache"
    return response


def asset_file(visit: Visit, digest: str, name: str) -> HttpResponse:
    """Return a file that all storefronts share."""
    if name not in assets.FILES:
        raise Http404
    found = assets.asset(name)
    response = HttpResponse(found.content, content_type=found.content_type)
    response["Cache-Control"] = FOREVER if digest == found.digest else "no-cache"
    return response


def robots(visit: Visit) -> HttpResponse:
    """Let search engines see the first page; results are nobody's to crawl."""
    response = HttpResponse(
        "User-agent: *\nDisallow: /search\nDisallow: /layover\nDisallow: /airports\n",
        content_type="text/plain; charset=utf-8",
    )
    response["Cache-Control"] = "public, max-age=86400"
    return response


def _kept(content: bytes, content_type: str) -> HttpResponse:
    response = HttpResponse(content, content_type=content_type)
    response["Content-Security-Policy"] = IMAGE_POLICY
    response["Cache-Control"] = FOREVER
    return response
