-- Which offers have what is asked for. Every filter is a function of a single expression, inlined
-- into the plans of its callers: keep them so.

-- What is asked for. Bounds are inclusive; null asks for nothing.
create type public.flight_search as (
    origin text,
    destination text,
    -- by the origin's calendar
    departure_days date[],
    max_layovers integer,
    via text[],
    -- one layover at a via airport has all of this; null without via: {"via": [airports], "low":,
    -- "high": minutes, "usable_low":, "usable_high":, "daylight": 0 or 1, "overnight": -1 (no), 0
    -- (whichever) or 1 (yes)}
    via_bounds jsonb,
    exclude text[],
    -- without via: every layover lasts this long, and one leaves this much for the city
    layover_minimum_minutes integer,
    layover_maximum_minutes integer,
    usable_minimum_minutes integer,
    usable_maximum_minutes integer,
    -- usable minutes count where they have daylight only
    daylight boolean,
    overnight boolean,
    duration_minimum_minutes integer,
    duration_maximum_minutes integer,
    price_minimum_minor bigint,
    price_maximum_minor bigint,
    -- of fares that were named in the currency that prices are shown in
    fare_minimum_minor bigint,
    fare_maximum_minor bigint,
    depart_minimum_minute integer,
    depart_maximum_minute integer,
    -- every segment is by one of them; none is
    carriers text[],
    exclude_carriers text[],
    cabin text,
    self_transfer boolean,
    terminal_change boolean,
    -- what the tenant's configuration allows, whoever asks
    policy_layover_minutes integer,
    policy_airports text[],
    policy_carriers text[],
    -- price, duration, departure or score
    sort text,
    page_size integer,
    -- where the page before ended; -1 and the nil uuid for the first one
    after_key bigint,
    after_id uuid,
    -- what a cursor begins with, so that it fits this search only
    cursor_prefix text,
    -- what prices are shown in, and how many of its minor units one of ours is
    shown_currency text,
    shown_rate numeric,
    shown_rate_date date,
    -- whether each offer tells its score
    explain boolean,
    -- by which the parts of a score count
    city_weight double precision,
    experience_weight double precision,
    weather_weight double precision,
    safety_weight double precision,
    premium_weight double precision,
    preference_weight double precision,
    -- where the weights come from; passed on to who asked
    ranking jsonb
);

create function public.meets_max_layovers(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.max_layovers is null or o.layover_count <= asked.max_layovers;

create function public.meets_layover(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (asked.layover_minimum_minutes is null or o.layover_min_minutes >= asked.layover_minimum_minutes)
    and (
        asked.layover_maximum_minutes is null
        or o.layover_max_minutes <= asked.layover_maximum_minutes
    );

create function public.meets_via(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (asked.via is null or o.layover_airports && asked.via)
    and (
        asked.via_bounds is null
        or jsonb_path_exists(
            o.layovers,
            '$[*] ? (
                @.airport == $via[*] && @.minutes >= $low && @.minutes <= $high
                && ($usable_low < 0 || (
                    $daylight == 0 && @.usable_minutes >= $usable_low
                    && @.usable_minutes <= $usable_high
                ) || (
                    $daylight == 1 && @.daylight_minutes >= $usable_low
                    && @.daylight_minutes <= $usable_high
                ))
                && ($overnight == 0 || ($overnight > 0 && @.overnight == true)
                    || ($overnight < 0 && !(exists (@.overnight))))
            )',
            asked.via_bounds
        )
    );

create function public.meets_exclude(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.exclude is null or not o.layover_airports && asked.exclude;

create function public.meets_usable(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (
        asked.usable_minimum_minutes is null
        or case when asked.daylight then o.daylight_minutes else o.usable_minutes end
            >= asked.usable_minimum_minutes
    )
    and (
        asked.usable_maximum_minutes is null
        or case when asked.daylight then o.daylight_minutes else o.usable_minutes end
            <= asked.usable_maximum_minutes
    );

create function public.meets_overnight(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.overnight is null or o.overnight = asked.overnight;

create function public.meets_duration(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (asked.duration_minimum_minutes is null or o.duration_minutes >= asked.duration_minimum_minutes)
    and (
        asked.duration_maximum_minutes is null
        or o.duration_minutes <= asked.duration_maximum_minutes
    );

create function public.meets_price(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return case
    when asked.shown_currency = o.fare_currency then
        (asked.fare_minimum_minor is null or o.fare_minor >= asked.fare_minimum_minor)
        and (asked.fare_maximum_minor is null or o.fare_minor <= asked.fare_maximum_minor)
    else
        (asked.price_minimum_minor is null or o.price_minor >= asked.price_minimum_minor)
        and (asked.price_maximum_minor is null or o.price_minor <= asked.price_maximum_minor)
end;

create function public.meets_depart(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (asked.depart_minimum_minute is null or o.departure_minute >= asked.depart_minimum_minute)
    and (asked.depart_maximum_minute is null or o.departure_minute <= asked.depart_maximum_minute);

-- Whose carriers nobody told is by none of those asked for.
create function public.meets_carriers(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.carriers is null or (o.carriers <@ asked.carriers and o.carriers <> '{}');

create function public.meets_exclude_carriers(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.exclude_carriers is null or not o.carriers && asked.exclude_carriers;

create function public.meets_cabin(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.cabin is null or o.cabin = asked.cabin;

create function public.meets_self_transfer(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.self_transfer is null or o.self_transfer = asked.self_transfer;

create function public.meets_terminal_change(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return asked.terminal_change is null or o.terminal_change = asked.terminal_change;

create function public.meets_policy(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    (
        asked.policy_layover_minutes is null
        or o.layover_min_minutes is null
        or o.layover_min_minutes >= asked.policy_layover_minutes
    )
    and (asked.policy_airports is null or not o.layover_airports && asked.policy_airports)
    and (asked.policy_carriers is null or not o.carriers && asked.policy_carriers);

-- Whether an offer has what is asked for, its route and day aside: by those the callers walk an
-- index.
create function public.offer_matches(o public.flight_offers, asked public.flight_search)
returns boolean language sql stable
return
    o.expires_at > now()
    and meets_policy(o, asked)
    and meets_max_layovers(o, asked)
    and meets_layover(o, asked)
    and meets_exclude(o, asked)
    and meets_via(o, asked)
    and meets_usable(o, asked)
    and meets_overnight(o, asked)
    and meets_duration(o, asked)
    and meets_price(o, asked)
    and meets_depart(o, asked)
    and meets_carriers(o, asked)
    and meets_exclude_carriers(o, asked)
    and meets_cabin(o, asked)
    and meets_self_transfer(o, asked)
    and meets_terminal_change(o, asked);
