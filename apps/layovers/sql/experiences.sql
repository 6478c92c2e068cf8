-- What can be done in a layover: reference data that belongs to no tenant.

create table public.experiences (
    id uuid primary key default uuidv7(),
    airport_code text not null references public.airports (iata),
    city text not null check (city <> '' and length(city) <= 100),
    name text not null check (name <> '' and length(name) <= 200),
    category text not null,
    rating_tenths smallint not null,
    -- in minor units, as money is everywhere; null where it is not known, 0 where it is free
    price_from bigint,
    price_currency text not null,
    duration_minutes smallint not null,
    opening_hours text not null check (opening_hours <> '' and length(opening_hours) <= 300),
    base text not null default 'centre',
    travel_minutes smallint not null,
    distance_metres integer,
    source text not null check (source <> '' and length(source) <= 300),
    is_indicative boolean not null default true,
    is_active boolean not null default true,
    updated_at timestamptz not null default now(),
    constraint experiences_category_known check (
        category in (
            'aquarium', 'attraction', 'beach', 'garden', 'landmark', 'market', 'museum',
            'neighbourhood', 'park', 'temple', 'viewpoint', 'waterfront'
        )
    ),
    constraint experiences_rating_in_range check (rating_tenths between 0 and 50),
    constraint experiences_price_not_negative check (price_from between 0 and 100000000000),
    constraint experiences_currency_is_iso check (price_currency ~ '^[A-Z]{3}$'),
    constraint experiences_duration_in_range check (duration_minutes between 10 and 720),
    constraint experiences_base_known check (base in ('centre', 'airport')),
    constraint experiences_travel_in_range check (travel_minutes between 0 and 300),
    constraint experiences_distance_in_range check (distance_metres between 0 and 300000),
    constraint experiences_name_once unique (airport_code, name)
);

create index experiences_category on public.experiences (airport_code, category);

-- The guide's: premium experiences of a city, the best first.
create index idx_experiences_premium
    on public.experiences (city, rating_tenths desc, price_from)
    where rating_tenths >= 40 and price_from is not null;

grant select on public.experiences to layoverhq_app;
grant select, insert, update, delete on public.experiences to layoverhq_operator;

-- Raises the version of each airport whose experiences a statement changed.
create function public.note_changed_experiences() returns trigger
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    changed text[];
begin
    -- In order, so that two writers never wait for each other.
    if tg_op = 'INSERT' then
        changed := array(select distinct n.airport_code from new_rows n order by 1);
    elsif tg_op = 'DELETE' then
        changed := array(select distinct o.airport_code from old_rows o order by 1);
    else
        changed := array(
            select o.airport_code from old_rows o
            union select n.airport_code from new_rows n order by 1
        );
    end if;
    if changed <> '{}' then
        insert into layover_inputs as i (airport_code, experiences_version)
        select airport, 1 from unnest(changed) as airport
        on conflict (airport_code) do update
        set experiences_version = i.experiences_version + 1;
    end if;
    return null;
end
$$;

revoke execute on function public.note_changed_experiences() from public;

create trigger experiences_inserted after insert on public.experiences
    referencing new table as new_rows
    for each statement execute function public.note_changed_experiences();
create trigger experiences_updated after update on public.experiences
    referencing old table as old_rows new table as new_rows
    for each statement execute function public.note_changed_experiences();
create trigger experiences_deleted after delete on public.experiences
    referencing old table as old_rows
    for each statement execute function public.note_changed_experiences();
