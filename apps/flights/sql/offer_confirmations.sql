-- When a provider last answered for a route and day: what stands of it then was named once more,
-- price and all. An offer that is seen again unchanged is not written for that; one row here is,
-- a fetch. Tenants read it as they read the offers.

create table public.offer_confirmations (
    id uuid primary key default uuidv7(),
    provider text not null,
    origin text not null,
    destination text not null,
    day date not null,
    -- null: of the shared inventory
    enterprise_id uuid references public.enterprises (id),
    confirmed_at timestamptz not null,
    constraint offer_confirmations_once
        unique nulls not distinct (provider, origin, destination, day, enterprise_id)
);

create index offer_confirmations_day on public.offer_confirmations (day);

select public.enable_tenant_isolation('public.offer_confirmations', shared_rows => true);
grant select on public.offer_confirmations to layoverhq_app;
grant select, insert, update, delete on public.offer_confirmations to layoverhq_operator;

-- When the provider of an offer last named its price: `stored` is when it named it first. As the
-- tenant whose search it is, for its own offers.
create function public.offer_seen_at(
    stored timestamptz,
    seller text,
    origin_airport text,
    destination_airport text,
    departure_day date,
    is_private boolean
) returns timestamptz
language sql stable
return greatest(stored, (
    select c.confirmed_at
    from public.offer_confirmations c
    where c.provider = seller
        and c.origin = origin_airport
        and c.destination = destination_airport
        and c.day = departure_day
        and c.enterprise_id is not distinct from
            case when is_private then public.current_enterprise_id() end
));
