-- Files of private offers that enterprises send, one row a file, and the lines that were refused.
-- The web process enters a file for its tenant; the worker loads it with the operator's role.

create table public.offer_imports (
    id uuid primary key default uuidv7(),
    enterprise_id uuid not null references public.enterprises (id),
    status text not null default 'queued',
    -- what the caller named the request, if anything
    idempotency_key text,
    content_type text not null default 'application/x-ndjson',
    content_sha256 text not null,
    bytes_received bigint not null,
    -- where the spooled body lies; empty once it is no longer needed
    file text not null,
    attempts integer not null default 0,
    -- of the body as it was sent
    bytes_done bigint not null default 0,
    lines_done bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    rejected bigint not null default 0,
    -- why nothing of it was loaded, if so
    problem_code text not null default '',
    problem text not null default '',
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    constraint offer_imports_content_type_known check (
        content_type in ('application/x-ndjson', 'text/csv')
    ),
    constraint offer_imports_status_known
        check (status in ('queued', 'loading', 'done', 'failed')),
    constraint offer_imports_failed_says_why check ((status = 'failed') = (problem_code <> '')),
    constraint offer_imports_finished check (
        (status in ('done', 'failed')) = (finished_at is not null)
    ),
    constraint offer_imports_key_named check (idempotency_key <> ''),
    constraint offer_imports_key_once unique (enterprise_id, idempotency_key),
    constraint offer_imports_tenant_key unique (enterprise_id, id)
);

create index offer_imports_pending on public.offer_imports (enterprise_id, id)
    where status in ('queued', 'loading');

select public.enable_tenant_isolation('public.offer_imports');
select public.enable_audit(
    'public.offer_imports', ignored => '{file,attempts,bytes_done,lines_done,rejected}'
);
grant select, insert on public.offer_imports to layoverhq_app;
grant select, insert, update, delete on public.offer_imports to layoverhq_operator;

create table public.offer_rejects (
    id uuid primary key default uuidv7(),
    enterprise_id uuid not null,
    import_id uuid not null,
    -- from 1
    line bigint not null check (line >= 1),
    reason text not null check (reason <> ''),
    field text not null,
    detail text not null,
    -- how the line begins
    excerpt text not null,
    constraint offer_rejects_line_once unique (enterprise_id, import_id, line),
    constraint offer_rejects_import foreign key (enterprise_id, import_id)
        references public.offer_imports (enterprise_id, id) on delete cascade
);

select public.enable_tenant_isolation('public.offer_rejects');
grant select on public.offer_rejects to layoverhq_app;
grant select, insert, update, delete on public.offer_rejects to layoverhq_operator;

-- Opens the staging tables for this transaction: COPY FROM is refused on tables with row-level
-- security.
create function public.open_import_staging() returns void
language plpgsql
set client_min_messages = warning
as $$
begin
    create temporary table imported_offers (
        line bigint not null,
        search_hash uuid not null,
        provider text not null,
        departure_at timestamptz not null,
        arrival_at timestamptz not null,
        expires_at timestamptz not null,
        departure_day date not null,
        departure_minute smallint not null,
        duration_minutes integer not null,
        price_minor bigint not null,
        price_currency text not null,
        origin_airport text not null,
        destination_airport text not null,
        layover_airports text[] not null,
        layover_minutes integer[] not null,
        -- of each layover
        layover_usable integer[] not null,
        layover_daylight integer[] not null,
        layover_overnight boolean[] not null,
        self_transfer boolean not null,
        terminal_change boolean not null,
        carriers text[] not null,
        cabin text not null,
        fare_minor bigint,
        fare_currency text,
        rate_date date,
        layovers jsonb not null,
        segments json not null
    ) on commit drop;
    create temporary table imported_rejects (
        line bigint not null,
        reason text not null,
        field text not null,
        detail text not null,
        excerpt text not null
    ) on commit drop;
end
$$;

-- Moves what is staged into the enterprise's private offers and empties the staging table, so that a
-- long file is loaded by pieces, in one transaction. No offer may be staged twice in one piece.
-- Offers that stand as they are sent are not written. Fails if the enterprise is leaving; the lock
-- keeps it until the commit.
create function public.merge_imported_offers(
    buyer uuid,
    out inserted bigint,
    out updated bigint,
    out unchanged bigint
)
language plpgsql
set search_path = public, pg_temp
set work_mem = '64MB'
as $$
declare
    staged bigint;
begin
    perform from enterprises where id = buyer and status in ('active', 'suspended') for share;
    if not found then
        raise exception 'enterprise % takes no offers', buyer
            using errcode = 'object_not_in_prerequisite_state';
    end if;

    analyze pg_temp.imported_offers (line, search_hash);
    select count(*) into staged from pg_temp.imported_offers;

    -- Whoever joins row by row through an index walks over what this statement inserts itself. Only
    -- with many offers standing, whose number the planner knows, is that the better way.
    perform set_config(
        'enable_nestloop',
        case
            when staged < 1000 or exists (
                select from enterprise_flights where enterprise_id = buyer offset 100000
            ) then 'on'
            else 'off'
        end,
        true
    );

    -- Arrays do not pass through `merged`: what they weigh there costs more than the join.
    with merged as (
        merge into enterprise_flights e
        using pg_temp.imported_offers s
        on e.enterprise_id = buyer and e.search_hash = s.search_hash and not e.modelled
        when matched and (
            -- A fare in another currency keeps the rate that it was loaded at.
            coalesce(e.fare_minor, e.price_minor), e.fare_currency, e.expires_at, e.layovers,
            e.segments::text
        ) is distinct from (
            coalesce(s.fare_minor, s.price_minor), s.fare_currency, s.expires_at, s.layovers,
            s.segments::text
        ) then update set
            price_minor = s.price_minor, fare_minor = s.fare_minor,
            fare_currency = s.fare_currency, rate_date = s.rate_date, expires_at = s.expires_at,
            usable_minutes = (array_sort(s.layover_usable, true))[1],
            daylight_minutes = (array_sort(s.layover_daylight, true))[1],
            overnight = true = any(s.layover_overnight), self_transfer = s.self_transfer,
            terminal_change = s.terminal_change, layovers = s.layovers, segments = s.segments,
            seen_at = now()
        when not matched then insert (
            enterprise_id, search_hash, provider, departure_at, arrival_at, expires_at,
            departure_day, departure_minute, duration_minutes, price_minor, price_currency,
            fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
            layover_count, layover_min_minutes, layover_max_minutes, usable_minutes,
            daylight_minutes, overnight, self_transfer, terminal_change, carriers, cabin,
            layover_airports, layovers, segments
        ) values (
            buyer, s.search_hash, s.provider, s.departure_at, s.arrival_at, s.expires_at,
            s.departure_day, s.departure_minute, s.duration_minutes, s.price_minor,
            s.price_currency, s.fare_minor, s.fare_currency, s.rate_date, s.origin_airport,
            s.destination_airport, cardinality(s.layover_airports),
            (array_sort(s.layover_minutes))[1], (array_sort(s.layover_minutes, true))[1],
            (array_sort(s.layover_usable, true))[1], (array_sort(s.layover_daylight, true))[1],
            true = any(s.layover_overnight), s.self_transfer, s.terminal_change, s.carriers,
            s.cabin, s.layover_airports, s.layovers, s.segments
        )
        returning merge_action() as action, s.line, e.id as flight_id
    ), places as (
        select
            m.action, m.flight_id, s.departure_day, l.position, l.airport, l.minutes, l.usable,
            l.daylight, l.overnight
        from merged m
        join pg_temp.imported_offers s using (line)
        cross join lateral unnest(
            s.layover_airports, s.layover_minutes, s.layover_usable, s.layover_daylight,
            s.layover_overnight
        ) with ordinality as l (airport, minutes, usable, daylight, overnight, position)
    ), entered as (
        insert into flight_layovers (
            enterprise_id, departure_day, flight_id, position, airport, minutes, usable_minutes,
            daylight_minutes, overnight
        )
        select
            buyer, p.departure_day, p.flight_id, p.position, p.airport, p.minutes, p.usable,
            p.daylight, p.overnight
        from places p
        where p.action = 'INSERT'
    ), moved as (
        -- Times and places are part of what makes an offer the same; what they leave is not.
        update flight_layovers f
        set usable_minutes = p.usable, daylight_minutes = p.daylight, overnight = p.overnight
        from places p
        where p.action = 'UPDATE' and f.departure_day = p.departure_day
            and f.flight_id = p.flight_id and f.position = p.position
            and (f.usable_minutes, f.daylight_minutes, f.overnight)
                is distinct from (p.usable, p.daylight, p.overnight)
    )
    select
        count(*) filter (where m.action = 'INSERT'),
        count(*) filter (where m.action = 'UPDATE')
    into inserted, updated
    from merged m;
    unchanged := staged - inserted - updated;
    truncate pg_temp.imported_offers;
end
$$;

-- Enters the lines that were refused, the first of them.
create function public.enter_import_rejects(buyer uuid, import uuid) returns void
language plpgsql
set search_path = public, pg_temp
as $$
begin
    insert into offer_rejects (enterprise_id, import_id, line, reason, field, detail, excerpt)
    select buyer, import, r.line, r.reason, r.field, r.detail, r.excerpt
    from pg_temp.imported_rejects r;
end
$$;

revoke execute on function public.open_import_staging() from public;
revoke execute on function public.merge_imported_offers(uuid) from public;
revoke execute on function public.enter_import_rejects(uuid, uuid) from public;
grant execute on function public.open_import_staging() to layoverhq_operator;
grant execute on function public.merge_imported_offers(uuid) to layoverhq_operator;
grant execute on function public.enter_import_rejects(uuid, uuid) to layoverhq_operator;
