-- Deletes offers that expired more than an hour ago, with their layovers: at most batch_size from
-- each table, the oldest first, and returns how many offers went. The scheduled task calls it
-- until it returns 0, a transaction each, so that no lock and no undo grows with the backlog.

create function public.cleanup_expired_flights(batch_size integer default 10000) returns integer
language sql
set search_path = public, pg_temp
begin atomic
    with shared as (
        delete from public.flights f
        using (
            select departure_day, id
            from public.flights
            where expires_at < now() - interval '1 hour'
            order by expires_at
            limit batch_size
        ) as expired
        where f.departure_day = expired.departure_day and f.id = expired.id
        returning f.departure_day, f.id
    ), negotiated as (
        delete from public.enterprise_flights f
        using (
            select enterprise_id, id
            from public.enterprise_flights
            where expires_at < now() - interval '1 hour'
            order by expires_at
            limit batch_size
        ) as expired
        where f.enterprise_id = expired.enterprise_id and f.id = expired.id
        returning f.departure_day, f.id
    ), gone as (
        table shared union all table negotiated
    ), layovers as (
        delete from public.flight_layovers l
        using gone
        where l.departure_day = gone.departure_day and l.flight_id = gone.id
    )
    select count(*)::integer from gone;
end;

revoke execute on function public.cleanup_expired_flights(integer) from public;
grant execute on function public.cleanup_expired_flights(integer) to layoverhq_operator;
