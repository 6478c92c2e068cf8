-- Where an enterprise's travellers like to wait: the share of their choices that had a layover
-- there, from 0 to 100, the most chosen being 100.

create table public.layover_preferences (
    enterprise_id uuid not null references public.enterprises (id),
    airport text not null references public.airports (iata),
    share smallint not null,
    updated_at timestamptz not null default now(),
    primary key (enterprise_id, airport),
    constraint layover_preferences_share_percent check (share between 0 and 100)
);

select public.enable_tenant_isolation('public.layover_preferences');

grant select on public.layover_preferences to layoverhq_app;
grant select, insert, update, delete on public.layover_preferences to layoverhq_operator;
