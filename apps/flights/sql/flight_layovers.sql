-- One row a layover of an offer in flights or enterprise_flights, for questions that start from
-- the place and the hours: "a night in DEN". A btree answers them under row-level security; the
-- operators of arrays and jsonb are not leakproof and could use no index there. As an offer may
-- stand in either table there is no foreign key: whoever deletes an offer deletes these rows.

create table public.flight_layovers (
    departure_day date not null,
    minutes integer not null,
    position smallint not null,
    flight_id uuid not null,
    -- as its offer's: null for shared inventory
    enterprise_id uuid references public.enterprises (id),
    airport text not null,
    -- what the layover leaves for the city, and of that with daylight; null if never worked out
    usable_minutes integer,
    daylight_minutes integer,
    overnight boolean not null default false,
    primary key (departure_day, flight_id, position),
    constraint flight_layovers_position_from_one check (position >= 1),
    constraint flight_layovers_minutes_not_negative check (minutes >= 0),
    constraint flight_layovers_ground_minutes_agree check (
        usable_minutes between 0 and minutes and daylight_minutes between 0 and minutes
    ),
    constraint flight_layovers_airport_is_iata check (airport ~ '^[A-Z]{3}$')
) partition by range (departure_day);

-- By what a search that begins with the place walks, the most usable first: shared and private
-- layovers apart, as in flights.
create index flight_layovers_shared_place on public.flight_layovers
    (airport, departure_day, usable_minutes, flight_id, position)
    where enterprise_id is null;

create index flight_layovers_private_place on public.flight_layovers
    (enterprise_id, airport, departure_day, usable_minutes, flight_id, position)
    where enterprise_id is not null;

select public.enable_tenant_isolation('public.flight_layovers', shared_rows => true);

grant select on public.flight_layovers to layoverhq_app;
grant select, insert, update, delete on public.flight_layovers to layoverhq_operator;

insert into public.partition_policies (parent, months_ahead, months_kept)
values ('flights', 3, 1), ('flight_layovers', 3, 1);

select public.maintain_partitions();
