-- Layovers by place without a table of them: an index over the offers' own JSONB, and the search
-- that means to use it, with a kept plan and under the same policies as the project's own.
create index bench_layovers_gin on flights using gin (layovers jsonb_path_ops);

create function gin_layovers(
    airport text, day date, low integer, high integer, page integer
) returns text[]
language plpgsql stable
set plan_cache_mode = force_generic_plan
as $$
declare
    bodies text[];
begin
    select array_agg(offer_json(found.offer, null::flight_search))
    into bodies
    from (
        select o as offer
        from flight_offers o
        where o.departure_day = day
            and o.expires_at > now()
            and o.layovers @> jsonb_build_array(jsonb_build_object('airport', airport))
            and jsonb_path_exists(
                o.layovers,
                '$[*] ? (@.airport == $airport && @.minutes >= $low && @.minutes <= $high)',
                jsonb_build_object('airport', airport, 'low', low, 'high', high)
            )
        order by o.price_minor, o.id
        limit page
    ) as found;
    return bodies;
end
$$;

grant execute on function gin_layovers(text, date, integer, integer, integer) to layoverhq_app;
