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
-- Nobody has analysed what is staged; hashes join it well.
set enable_nestloop = off
set enable_mergejoin = off
as $$
declare
    staged bigint;
    -- An offer's id ends with its line: uuidv7() of each would ask the kernel for random bits.
    seed constant text := left(uuidv7()::text, 28);
begin
    perform from enterprises where id = buyer and status in ('active', 'suspended') for share;
    if not found then
        raise exception 'enterprise % takes no offers', buyer
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    select count(*) into staged from pg_temp.imported_offers;

    -- What stands is found by the index that forbids it twice, whatever the planner knows of a
    -- table that this transaction fills.
    with entered as (
        insert into enterprise_flights (
            id, enterprise_id, search_hash, provider, departure_at, arrival_at, expires_at,
            departure_day, departure_minute, duration_minutes, price_minor, price_currency,
            fare_minor, fare_currency, rate_date, origin_airport, destination_airport,
            layover_count, layover_min_minutes, layover_max_minutes, usable_minutes,
            daylight_minutes, overnight, self_transfer, terminal_change, carriers, cabin,
            layover_airports, layovers, segments
        )
        select
            (seed || lpad(to_hex(s.line), 8, '0'))::uuid, buyer, s.search_hash, s.provider,
            s.departure_at, s.arrival_at, s.expires_at, s.departure_day, s.departure_minute,
            s.duration_minutes, s.price_minor, s.price_currency, s.fare_minor, s.fare_currency,
            s.rate_date, s.origin_airport, s.destination_airport, cardinality(s.layover_airports),
            (array_sort(s.layover_minutes))[1], (array_sort(s.layover_minutes, true))[1],
            (array_sort(s.layover_usable, true))[1], (array_sort(s.layover_daylight, true))[1],
            true = any(s.layover_overnight), s.self_transfer, s.terminal_change, s.carriers,
            s.cabin, s.layover_airports, s.layovers, s.segments
        from pg_temp.imported_offers s
        on conflict (enterprise_id, search_hash) where not modelled do nothing
        returning id, search_hash
    ), places as (
        insert into flight_layovers (
            enterprise_id, departure_day, flight_id, position, airport, minutes, usable_minutes,
            daylight_minutes, overnight
        )
        select
            buyer, s.departure_day, e.id, generate_subscripts(s.layover_airports, 1),
            unnest(s.layover_airports), unnest(s.layover_minutes), unnest(s.layover_usable),
            unnest(s.layover_daylight), unnest(s.layover_overnight)
        from entered e
        join pg_temp.imported_offers s using (search_hash)
    )
    select count(*) into inserted from entered;

    updated := case when inserted < staged then restate_imported_offers(buyer) else 0 end;
    unchanged := staged - inserted - updated;
    truncate pg_temp.imported_offers;
end
$$;

-- Writes what is staged over the enterprise's offers that differ; returns how many.
create function public.restate_imported_offers(buyer uuid) returns bigint
language plpgsql
set search_path = public, pg_temp
set work_mem = '64MB'
set enable_nestloop = off
-- Of the indexes that begin with the enterprise the planner, which may think that it has no offers,
-- then takes the one that is in the order of hashes.
set enable_sort = off
as $$
declare
    hashes uuid[];
    changed uuid[];
    lines bigint[];
begin
    select array_agg(search_hash) into hashes from pg_temp.imported_offers;
    select array_agg(e.id), array_agg(s.line) into changed, lines
    from (
        select
            id, search_hash, price_minor, fare_minor, fare_currency, expires_at, layovers, segments
        from enterprise_flights
        where enterprise_id = buyer and search_hash = any (hashes) and not modelled
        order by search_hash
    ) as e
    join pg_temp.imported_offers s using (search_hash)
    -- A fare in another currency keeps the rate that it was loaded at.
    where (
        coalesce(e.fare_minor, e.price_minor), e.fare_currency, e.expires_at, e.layovers,
        e.segments::text
    ) is distinct from (
        coalesce(s.fare_minor, s.price_minor), s.fare_currency, s.expires_at, s.layovers,
        s.segments::text
    );
    if changed is null then
        return 0;
    end if;

    update enterprise_flights e
    set price_minor = s.price_minor, fare_minor = s.fare_minor, fare_currency = s.fare_currency,
        rate_date = s.rate_date, expires_at = s.expires_at,
        usable_minutes = (array_sort(s.layover_usable, true))[1],
        daylight_minutes = (array_sort(s.layover_daylight, true))[1],
        overnight = true = any(s.layover_overnight), self_transfer = s.self_transfer,
        terminal_change = s.terminal_change, layovers = s.layovers, segments = s.segments,
        seen_at = now()
    from pg_temp.imported_offers s
    where e.enterprise_id = buyer and e.id = any (changed) and e.search_hash = s.search_hash;
    perform restate_imported_layovers(changed, lines);
    return cardinality(changed);
end
$$;

-- Writes what the layovers of some offers leave for the city, where it differs. Times and places
-- are part of what makes an offer the same.
create function public.restate_imported_layovers(flight_ids uuid[], lines bigint[]) returns void
language plpgsql
set search_path = public, pg_temp
set enable_nestloop = on
as $$
begin
    with places as (
        select
            c.flight_id, s.departure_day, generate_subscripts(s.layover_airports, 1) as position,
            unnest(s.layover_usable) as usable, unnest(s.layover_daylight) as daylight,
            unnest(s.layover_overnight) as overnight
        from unnest(flight_ids, lines) as c (flight_id, line)
        join pg_temp.imported_offers s using (line)
    )
    update flight_layovers f
    set usable_minutes = p.usable, daylight_minutes = p.daylight, overnight = p.overnight
    from places p
    where f.departure_day = p.departure_day and f.flight_id = p.flight_id
        and f.position = p.position
        and (f.usable_minutes, f.daylight_minutes, f.overnight)
            is distinct from (p.usable, p.daylight, p.overnight);
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
revoke execute on function public.restate_imported_offers(uuid) from public;
revoke execute on function public.restate_imported_layovers(uuid[], bigint[]) from public;
revoke execute on function public.enter_import_rejects(uuid, uuid) from public;
grant execute on function public.open_import_staging() to layoverhq_operator;
grant execute on function public.merge_imported_offers(uuid) to layoverhq_operator;
grant execute on function public.restate_imported_offers(uuid) to layoverhq_operator;
grant execute on function public.restate_imported_layovers(uuid[], bigint[])
    to layoverhq_operator;
grant execute on function public.enter_import_rejects(uuid, uuid) to layoverhq_operator;
