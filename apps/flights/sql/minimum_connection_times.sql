-- How long a connection takes at least, by place, kind, carriers and terminals. A column that is
-- null stands for any; of the rows that fit, the most specific one holds.

create table public.minimum_connection_times (
    id uuid primary key default uuidv7(),
    -- null: everywhere
    airport text references public.airports (iata),
    -- of the flight that arrives and of the one that departs: domestic, or over a border
    kind text not null,
    arriving_carrier text,
    departing_carrier text,
    arriving_terminal text,
    departing_terminal text,
    minutes smallint not null,
    -- who says so
    source text not null,
    is_active boolean not null default true,
    version integer not null default 1,
    constraint minimum_connection_times_kind_known check (kind in ('DD', 'DI', 'ID', 'II')),
    constraint minimum_connection_times_carriers_are_iata check (
        arriving_carrier ~ '^[A-Z0-9]{2}$' and departing_carrier ~ '^[A-Z0-9]{2}$'
    ),
    constraint minimum_connection_times_terminals_stand_in_airports check (
        (arriving_terminal is null) = (departing_terminal is null)
        and (arriving_terminal is null or airport is not null)
        and arriving_terminal <> '' and departing_terminal <> ''
    ),
    constraint minimum_connection_times_minutes_of_a_day check (minutes between 0 and 1440),
    constraint minimum_connection_times_source_named check (source <> ''),
    -- So that every connection has a time.
    constraint minimum_connection_times_default_stands check (
        is_active
        or num_nonnulls(airport, arriving_carrier, departing_carrier, arriving_terminal) > 0
    ),
    constraint minimum_connection_times_once unique nulls not distinct (
        airport, kind, arriving_carrier, departing_carrier, arriving_terminal, departing_terminal
    )
);

grant select on public.minimum_connection_times to layoverhq_app;
grant select, insert, update on public.minimum_connection_times to layoverhq_operator;

select public.feed_snapshot('public.minimum_connection_times', 'connection_times');

-- The rows that fit a connection, the one that holds first. Precedence follows IATA's idea, the
-- special before the general: the airport counts most, then the arriving carrier, the departing
-- carrier and the pair of terminals. Rows with the same columns named cannot both fit.
create function public.fitting_connection_times(
    at_airport text,
    of_kind text,
    by_arriving_carrier text,
    by_departing_carrier text,
    at_arriving_terminal text,
    at_departing_terminal text
) returns setof public.minimum_connection_times
language sql stable
set search_path = public, pg_temp
begin atomic
    select t.*
    from public.minimum_connection_times t
    where t.is_active
        and t.kind = of_kind
        and (t.airport is null or t.airport = at_airport)
        and (t.arriving_carrier is null or t.arriving_carrier = by_arriving_carrier)
        and (t.departing_carrier is null or t.departing_carrier = by_departing_carrier)
        and (
            t.arriving_terminal is null
            or (t.arriving_terminal = at_arriving_terminal
                and t.departing_terminal = at_departing_terminal)
        )
    order by
        t.airport is null,
        t.arriving_carrier is null,
        t.departing_carrier is null,
        t.arriving_terminal is null;
end;

-- The minutes that hold; apps.flights.connection_times answers the same from memory. Null for what
-- is not known: such a carrier or terminal fits no row that names one.
create function public.minimum_connection_minutes(
    at_airport text,
    of_kind text,
    arriving_carrier text default null,
    departing_carrier text default null,
    arriving_terminal text default null,
    departing_terminal text default null
) returns integer
language sql stable
set search_path = public, pg_temp
begin atomic
    select f.minutes::integer
    from public.fitting_connection_times(
        at_airport, of_kind, arriving_carrier, departing_carrier, arriving_terminal,
        departing_terminal
    ) f
    limit 1;
end;
