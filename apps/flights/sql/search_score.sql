-- What an offer's layovers are worth, as the search ranks them: 100 x the weighted mean of its
-- components, each from 0 to 1. A component whose input is missing is left out of the mean and of
-- the confidence. docs/search.md has the formula; the analysis of a layover knows more.

create type public.offer_components as (
    city double precision,
    experience double precision,
    weather double precision,
    safety double precision,
    premium double precision,
    preference double precision
);

-- The share of arrivals that are at most so late, by interpolation between the quantiles, as
-- on_time_share answers it; inlined, because it is asked for every offer that is ranked.
create function public.on_time_share_of(d public.arrival_delays, slack double precision)
returns double precision
language sql immutable
return case
    when d.p99 is null then null
    when slack >= d.p99 then 0.99
    when slack >= d.p95 then 0.95 + (slack - d.p95) * 0.04 / (d.p99 - d.p95)
    when slack >= d.p90 then 0.9 + (slack - d.p90) * 0.05 / (d.p95 - d.p90)
    when slack >= d.p75 then 0.75 + (slack - d.p75) * 0.15 / (d.p90 - d.p75)
    when slack >= d.p50 then 0.5 + (slack - d.p50) * 0.25 / (d.p75 - d.p50)
    when slack >= d.p25 then 0.25 + (slack - d.p25) * 0.25 / (d.p50 - d.p25)
    when d.p25 = d.p10 then 0
    else greatest(0, 0.1 + (slack - d.p10) * 0.15 / (d.p25 - d.p10))
end;

-- How much of the weight is of components that are known.
create function public.known_weight(
    c public.offer_components, asked public.flight_search
) returns double precision
language sql immutable
return
    case when c.city is null then 0 else asked.city_weight end
    + case when c.experience is null then 0 else asked.experience_weight end
    + case when c.weather is null then 0 else asked.weather_weight end
    + case when c.safety is null then 0 else asked.safety_weight end
    + case when c.premium is null then 0 else asked.premium_weight end
    + case when c.preference is null then 0 else asked.preference_weight end;

-- The weighted mean of what is known, from 0 to 1.
create function public.weighted_score(
    c public.offer_components, asked public.flight_search
) returns double precision
language sql immutable
return coalesce(
    (
        coalesce(c.city * asked.city_weight, 0)
        + coalesce(c.experience * asked.experience_weight, 0)
        + coalesce(c.weather * asked.weather_weight, 0)
        + coalesce(c.safety * asked.safety_weight, 0)
        + coalesce(c.premium * asked.premium_weight, 0)
        + coalesce(c.preference * asked.preference_weight, 0)
    ) / nullif(known_weight(c, asked), 0),
    0
);

-- The same as it is told and ranked by: in tenths of a point, 0 to 1000.
create function public.score_tenths(
    c public.offer_components, asked public.flight_search
) returns bigint
language sql immutable
return round(1000 * weighted_score(c, asked))::bigint;

-- The components of an offer, beside the best price and duration of its route and days.
-- Under two usable hours a layover is an airport's: half at best, the shorter the better.
-- Returns one row. Inlined into its callers' plans: keep it a single select. It takes columns, since
-- of an offer as a whole each column that is read would build the whole again.
create function public.components_of(
    layover_count smallint,
    layover_airports text[],
    layovers jsonb,
    layover_min_minutes integer,
    layover_max_minutes integer,
    usable_minutes integer,
    departure_at timestamptz,
    duration_minutes integer,
    price_minor bigint,
    asked public.flight_search,
    best_price_minor bigint,
    best_minutes integer
) returns table (hub text, components public.offer_components)
language sql stable
begin atomic
    select
        at.hub,
        row(
            case
                when usable_minutes >= 120 then least(1, usable_minutes / 360::float8)
                when layover_count = 0 then 0
                when usable_minutes is null then null
                else greatest(0, 600 - greatest(120, layover_max_minutes)) / 960::float8
            end,
            case
                when layover_count = 0 or usable_minutes < 120 then 0
                when usable_minutes is null then null
                else p.appeal[least(usable_minutes / 60, 16) + 1] / 100::float8
            end,
            case when usable_minutes >= 120 then w.comfort / 100::float8 end,
            case
                when layover_count = 0 then 1
                else coalesce(
                    on_time_share_of(here, layover_min_minutes - 45),
                    on_time_share_of(nation, layover_min_minutes - 45)
                )
            end,
            greatest(
                0,
                1
                - least(0.5, (price_minor - best_price_minor) / (best_price_minor + 1)::float8)
                - least(0.5, (duration_minutes - best_minutes) / 1440::float8)
            ),
            case
                when asked.preference_weight > 0
                    and layover_count > 0
                    -- Of whose travellers nothing is known, nothing is said.
                    and exists (
                        select
                        from layover_preferences own
                        where own.enterprise_id = public.current_enterprise_id()
                    )
                    then coalesce(t.share, 0) / 100::float8
            end
        )::public.offer_components
    from (
        -- Where the layover is that leaves most for its city, and where the shortest one is: a
        -- function of their own would be called for each offer, as nothing with a subquery is
        -- inlined.
        select
            case when layover_count < 2 then layover_airports[1] else (
                select l.airport
                from jsonb_to_recordset(layovers) as l (
                    airport text, minutes integer, usable_minutes integer
                )
                order by l.usable_minutes desc nulls last, l.minutes desc, l.airport
                limit 1
            ) end as hub,
            case when layover_count < 2 then layover_airports[1] else (
                select l.airport
                from jsonb_to_recordset(layovers) as l (airport text, minutes integer)
                order by l.minutes, l.airport
                limit 1
            ) end as tightest
    ) as at
    left join layover_places p on p.airport = at.hub
    left join layover_weather w
        on asked.weather_weight > 0
        and w.airport = at.hub
        and w.hour
            = date_trunc('hour', departure_at + duration_minutes * interval '30 s', 'UTC')
    left join arrival_delays here on here.airport = at.tightest
    left join arrival_delays nation on nation.airport is null
    left join layover_preferences t
        on asked.preference_weight > 0
        and t.enterprise_id = public.current_enterprise_id()
        and t.airport = at.hub;
end;

create function public.offer_components_of(
    o public.flight_offers,
    asked public.flight_search,
    best_price_minor bigint,
    best_minutes integer
) returns table (hub text, components public.offer_components)
language sql stable
begin atomic
    select c.hub, c.components
    from components_of(
        o.layover_count, o.layover_airports, o.layovers, o.layover_min_minutes,
        o.layover_max_minutes, o.usable_minutes, o.departure_at, o.duration_minutes, o.price_minor,
        asked, best_price_minor, best_minutes
    ) as c;
end;

-- Tells why an offer ranks where it does.
create function public.score_explanation(
    hub text,
    c public.offer_components,
    asked public.flight_search,
    best_price_minor bigint,
    best_minutes integer
) returns json
language sql stable
return json_build_object(
    'hub', hub,
    'confidence', round((
        known_weight(c, asked) / nullif(
            asked.city_weight + asked.experience_weight + asked.weather_weight
            + asked.safety_weight + asked.premium_weight + asked.preference_weight, 0
        )
    )::numeric, 2),
    'components', (
        select json_object_agg(
            part.name,
            json_build_object(
                'value', round(part.value::numeric, 3),
                'weight', part.weight,
                'points', round(
                    (100 * part.value * part.weight / nullif(known_weight(c, asked), 0))::numeric, 1
                )
            )
            order by part.place
        )
        from (
            values
                (1, 'city', c.city, asked.city_weight),
                (2, 'experience', c.experience, asked.experience_weight),
                (3, 'weather', c.weather, asked.weather_weight),
                (4, 'safety', c.safety, asked.safety_weight),
                (5, 'premium', c.premium, asked.premium_weight),
                (6, 'preference', c.preference, asked.preference_weight)
        ) as part (place, name, value, weight)
        where part.weight > 0
    ),
    'best_price_minor', best_price_minor,
    'best_duration_minutes', best_minutes
);
