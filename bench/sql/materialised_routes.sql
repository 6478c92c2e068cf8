-- Popular routes as the guide has them: counted anew as a whole, each time.
create materialized view bench_routes as
with stops as (
    select f.origin_airport, f.destination_airport, stop.airport, count(*) as offers
    from flights f cross join lateral (select distinct unnest(f.layover_airports)) as stop (airport)
    where f.enterprise_id is null and f.expires_at > now()
    group by 1, 2, 3
), places as (
    select
        origin_airport, destination_airport,
        (array_agg(airport order by offers desc, airport))[:5] as layover_airports
    from stops
    group by 1, 2
)
select
    f.origin_airport, f.destination_airport, count(*) as flight_count,
    avg(f.price_minor) / 100 as avg_price, avg(f.layover_count) as avg_layovers,
    p.layover_airports
from flights f
join places p using (origin_airport, destination_airport)
where f.enterprise_id is null and f.expires_at > now() and f.layover_count > 0
group by 1, 2, p.layover_airports
having count(*) >= 5;

create unique index on bench_routes (origin_airport, destination_airport);
