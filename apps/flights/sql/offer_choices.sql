-- What tenants' travellers chose, and what they were shown beside it: each offer by the components of
-- its score at that time, since offers expire. Months by when it was told.

-- Whether all that is known lies between 0 and 1.
create function public.are_shares(given double precision[]) returns boolean
language sql immutable
return (select coalesce(bool_and(v between 0 and 1), true) from unnest(given) as v);

create table public.offer_choices (
    chosen_at timestamptz not null default now(),
    enterprise_id uuid not null references public.enterprises (id),
    -- the digest of the caller's own id
    id uuid not null,
    -- who chose, as a digest; null where nobody says
    unit uuid,
    booked boolean not null,
    offer_id uuid not null,
    departure_day date not null,
    origin_airport text not null,
    destination_airport text not null,
    -- where the layover is that leaves most for its city; null for a nonstop
    hub text,
    usable_minutes integer,
    overnight boolean not null,
    -- as offer_components lists them, null where one is not known
    components double precision[] not null,
    -- what was shown and not chosen, in no order of quality
    shown_ids uuid[] not null,
    shown_hubs text[] not null,
    shown_components double precision[] not null,
    -- a tenant's ids are its own, and its rows lie together
    primary key (enterprise_id, id, chosen_at),
    constraint offer_choices_components_are_shares check (
        cardinality(components) = 6 and are_shares(components)
    ),
    constraint offer_choices_shown_agree check (
        cardinality(shown_ids) between 0 and 100
        and cardinality(shown_hubs) = cardinality(shown_ids)
        and cardinality(shown_components) = 6 * cardinality(shown_ids)
        and are_shares(shown_components)
        and not offer_id = any (shown_ids)
    )
) partition by range (chosen_at);

-- A tenant's choices of some time.
create index offer_choices_time on public.offer_choices (enterprise_id, chosen_at);

select public.enable_tenant_isolation('public.offer_choices');

grant select, insert, update (booked) on public.offer_choices to layoverhq_app;
-- Deleting is for the erasure of an enterprise that leaves.
grant select, insert, delete on public.offer_choices to layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('offer_choices', 3, 13);

select public.ensure_month_partitions(
    'offer_choices', current_date, (current_date + interval '3 months')::date
);

-- Offers by their ids among what the caller may buy, on days that one search can show together with
-- a departure day: three before and after the day asked for.
create function public.offers_shown(ids uuid[], near date) returns setof public.flight_offers
language sql stable
set search_path = public, pg_temp
begin atomic
    select o.*
    from flight_offers o
    where o.departure_day = any (array(select near + shift from generate_series(-6, 6) as shift))
        and o.id = any (ids);
end;

-- Enters the choice of an offer, beside the others of its route that are given, for the caller's
-- enterprise and with its rights. A known choice_id is the same choice: that it was booked may be
-- told later, and nothing else changes.
-- Answers {"outcome": "recorded", "repeated" or "conflict"}, or {"unknown": [ids], "elsewhere":
-- [ids]} of what the caller may not buy and of what flies another route; then nothing is entered.
create function public.record_offer_choice(
    choice_id text,
    who text,
    chosen uuid,
    day date,
    others uuid[],
    is_booked boolean
) returns jsonb
language plpgsql
set search_path = public, pg_temp
as $$
declare
    tenant constant uuid := current_enterprise_id();
    digest constant uuid := md5(format('choice %s:%s', tenant, choice_id))::uuid;
    offers flight_offers[];
    choice flight_offers;
    missing uuid[];
    elsewhere uuid[];
    standing offer_choices;
    best_price bigint;
    best_minutes integer;
    asked flight_search;
begin
    -- The key has the time in it: this makes the id alone unique.
    perform pg_advisory_xact_lock(hashtextextended(digest::text, 0));
    select * into standing from offer_choices c where c.enterprise_id = tenant and c.id = digest;
    if found then
        if standing.offer_id <> chosen then
            return jsonb_build_object('outcome', 'conflict');
        end if;
        if is_booked and not standing.booked then
            update offer_choices c set booked = true
            where c.enterprise_id = tenant and c.id = digest and c.chosen_at = standing.chosen_at;
        end if;
        return jsonb_build_object('outcome', 'repeated');
    end if;

    offers := array(select s from offers_shown(others || chosen, day) as s);
    select * into choice from unnest(offers) as o where o.id = chosen and o.departure_day = day;
    missing := array(
        select wanted from unnest(others || chosen) as wanted
        where (wanted = chosen and choice.id is null)
            or not exists (select from unnest(offers) as o where o.id = wanted)
    );
    elsewhere := array(
        select o.id from unnest(offers) as o
        where (o.origin_airport, o.destination_airport)
            <> (choice.origin_airport, choice.destination_airport)
    );
    if missing <> '{}' or elsewhere <> '{}' then
        return jsonb_build_object('unknown', missing, 'elsewhere', elsewhere);
    end if;

    -- As the search compares: the best of the route and of the days that were shown.
    select min(o.price_minor), min(o.duration_minutes)
    into best_price, best_minutes
    from (
        select o.price_minor, o.duration_minutes from unnest(offers) as o
        union all
        select o.price_minor, o.duration_minutes
        from flight_offers o
        where o.origin_airport = choice.origin_airport
            and o.destination_airport = choice.destination_airport
            and o.departure_day = any (array(select u.departure_day from unnest(offers) as u))
            and o.expires_at > now()
    ) as o;
    -- Whether they count is known when they are learned from.
    asked.weather_weight := 1;
    asked.preference_weight := 1;

    insert into offer_choices (
        enterprise_id, id, unit, booked, offer_id, departure_day, origin_airport,
        destination_airport, hub, usable_minutes, overnight, components, shown_ids, shown_hubs,
        shown_components
    )
    with scored as (
        select
            o.id, o.usable_minutes, o.overnight, s.hub,
            array[
                (s.components).city, (s.components).experience, (s.components).weather,
                (s.components).safety, (s.components).premium, (s.components).preference
            ] as components
        from unnest(offers) as o
        cross join lateral offer_components_of(
            row(o.*)::flight_offers, asked, best_price, best_minutes
        ) as s
    )
    select
        tenant, digest, flag_unit_digest(tenant, who), is_booked, chosen, day,
        choice.origin_airport, choice.destination_airport, c.hub, c.usable_minutes, c.overnight,
        c.components,
        coalesce(shown.ids, '{}'), coalesce(shown.hubs, '{}'), coalesce(shown.components, '{}')
    from scored c
    cross join lateral (
        select
            array_agg(s.id order by s.place) as ids,
            array_agg(s.hub order by s.place) as hubs,
            array_agg(s.components order by s.place) as components
        from (
            select other.*, md5(other.id::text) as place from scored other where other.id <> chosen
        ) as s
    ) as shown
    where c.id = chosen;
    return jsonb_build_object('outcome', 'recorded');
end
$$;

-- Works out where enterprises' travellers like to wait, from their choices after `since`, of which one
-- counts half after so many days, and a nonstop not at all. An enterprise with fewer choices than
-- `fewest` has no preferences. Returns the enterprises for which something changed; called by the
-- scheduled task, which may do so as often as it likes.
create function public.learn_layover_preferences(
    enterprises uuid[],
    since timestamptz,
    as_of timestamptz,
    half_life_days double precision,
    fewest integer
) returns setof uuid
language sql
set search_path = public, pg_temp
begin atomic
    with counted as (
        select
            c.enterprise_id,
            c.hub,
            count(*) as choices,
            sum(
                0.5 ^ (extract(epoch from as_of - c.chosen_at)::double precision
                    / 86400 / half_life_days)
            ) as weight
        from public.offer_choices c
        join public.airports a on a.iata = c.hub
        where c.enterprise_id = any (enterprises) and c.chosen_at > since
        group by c.enterprise_id, c.hub
    ), told as (
        select
            c.enterprise_id,
            c.hub,
            round(100 * c.weight / max(c.weight) over tenant)::smallint as share,
            sum(c.choices) over tenant as choices
        from counted c
        window tenant as (partition by c.enterprise_id)
    ), holding as (
        select t.enterprise_id, t.hub, t.share
        from told t
        where t.choices >= fewest and t.share > 0
    ), gone as (
        delete from public.layover_preferences p
        where p.enterprise_id = any (enterprises)
            and not exists (
                select from holding h where h.enterprise_id = p.enterprise_id and h.hub = p.airport
            )
        returning p.enterprise_id
    ), written as (
        insert into public.layover_preferences as p (enterprise_id, airport, share, updated_at)
        select h.enterprise_id, h.hub, h.share, as_of
        from holding h
        order by h.enterprise_id, h.hub
        on conflict (enterprise_id, airport) do update set
            share = excluded.share, updated_at = excluded.updated_at
        where p.share <> excluded.share
        returning p.enterprise_id
    )
    select g.enterprise_id from gone g
    union
    select w.enterprise_id from written w;
end;

revoke execute
    on function public.learn_layover_preferences(
        uuid[], timestamptz, timestamptz, double precision, integer
    )
    from public;
grant execute
    on function public.learn_layover_preferences(
        uuid[], timestamptz, timestamptz, double precision, integer
    )
    to layoverhq_operator;
