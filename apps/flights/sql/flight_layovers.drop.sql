delete from public.partition_policies where parent in ('flights', 'flight_layovers');
drop table public.flight_layovers;
