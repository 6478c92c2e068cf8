-- Analyses that were made, for whoever asks the same. Shared by all tenants, without an
-- enterprise_id: the key is a digest of the question, of the score's weights and of whether weather
-- was asked for; who asked is in neither key nor result.

create table public.layover_analyses_cache (
    cache_key varchar(255) primary key check (cache_key ~ '^[0-9a-f]{32}$'),
    airport_code varchar(3) not null,
    analysis_result jsonb not null,
    confidence_score decimal(3, 2),
    expires_at timestamptz not null,
    hit_count integer not null default 0,
    last_accessed timestamptz not null default now(),
    request jsonb not null,
    departure_at timestamptz not null,
    weights jsonb not null,
    real_time_weather boolean not null,
    -- of the inputs that it was made from: see layover_inputs
    experiences_version bigint not null,
    weather_version bigint not null,
    invalidations bigint not null,
    computed_at timestamptz not null default now()
);

create index layover_analyses_cache_airport
    on public.layover_analyses_cache (airport_code, last_accessed);
create index layover_analyses_cache_expires on public.layover_analyses_cache (expires_at);
create index layover_analyses_cache_computed on public.layover_analyses_cache (computed_at);

grant select, delete on public.layover_analyses_cache to layoverhq_operator;

-- Returns the entry of a question that the caller can ask. What others asked is nobody's to look
-- through: a price may be of a private offer.
create function public.kept_layover_analysis(
    key text,
    out experiences_version bigint,
    out weather_version bigint,
    out invalidations bigint,
    out expires_at timestamptz,
    out analysis text
) returns setof record
language sql stable
security definer
set search_path = public, pg_temp
begin atomic
    select
        c.experiences_version, c.weather_version, c.invalidations, c.expires_at,
        c.analysis_result::text
    from public.layover_analyses_cache c
    where c.cache_key = key;
end;

revoke execute on function public.kept_layover_analysis(text) from public;
grant execute on function
    public.kept_layover_analysis(text) to layoverhq_app, layoverhq_operator;

create table public.layover_cache_counts (
    hour timestamptz primary key,
    hits bigint not null default 0,
    -- answered with what was outdated while another worked on it
    stale bigint not null default 0,
    misses bigint not null default 0
);

grant select, delete on public.layover_cache_counts to layoverhq_operator;

-- Keeps an analysis; one from older inputs never replaces one from newer.
create function public.keep_layover_analysis(entry jsonb) returns void
language sql
security definer
set search_path = public, pg_temp
begin atomic
    insert into public.layover_analyses_cache as c (
        cache_key, airport_code, analysis_result, confidence_score, expires_at, request,
        departure_at, weights, real_time_weather, experiences_version, weather_version,
        invalidations
    )
    select
        e.cache_key, e.airport_code, e.analysis_result, e.confidence_score, e.expires_at,
        e.request, e.departure_at, e.weights, e.real_time_weather, e.experiences_version,
        e.weather_version, e.invalidations
    from jsonb_to_record(entry) as e (
        cache_key text, airport_code text, analysis_result jsonb, confidence_score numeric,
        expires_at timestamptz, request jsonb, departure_at timestamptz, weights jsonb,
        real_time_weather boolean, experiences_version bigint, weather_version bigint,
        invalidations bigint
    )
    on conflict (cache_key) do update set
        analysis_result = excluded.analysis_result,
        confidence_score = excluded.confidence_score,
        expires_at = excluded.expires_at,
        experiences_version = excluded.experiences_version,
        weather_version = excluded.weather_version,
        invalidations = excluded.invalidations,
        computed_at = excluded.computed_at
    where c.experiences_version <= excluded.experiences_version
        and c.weather_version <= excluded.weather_version
        and c.invalidations <= excluded.invalidations;
end;

revoke execute on function public.keep_layover_analysis(jsonb) from public;
grant execute on function
    public.keep_layover_analysis(jsonb) to layoverhq_app, layoverhq_operator;

-- Adds what processes counted since they last told: hits by key, and what came of all reads.
create function public.record_layover_hits(
    by_key jsonb, hits bigint, stale bigint, misses bigint
) returns void
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    -- In order, so that two processes never wait for each other.
    perform from layover_analyses_cache c
    where c.cache_key in (select jsonb_object_keys(by_key))
    order by c.cache_key
    for update;
    update layover_analyses_cache c
    set hit_count = least(c.hit_count::bigint + told.value::bigint, 2147483647)::integer,
        last_accessed = now()
    from jsonb_each_text(by_key) as told
    where c.cache_key = told.key;
    insert into layover_cache_counts as k (hour, hits, stale, misses)
    values (
        date_trunc('hour', now(), 'UTC'),
        record_layover_hits.hits, record_layover_hits.stale, record_layover_hits.misses
    )
    on conflict (hour) do update set
        hits = k.hits + excluded.hits,
        stale = k.stale + excluded.stale,
        misses = k.misses + excluded.misses;
end
$$;

revoke execute on function
    public.record_layover_hits(jsonb, bigint, bigint, bigint) from public;
grant execute on function
    public.record_layover_hits(jsonb, bigint, bigint, bigint) to layoverhq_app, layoverhq_operator;
