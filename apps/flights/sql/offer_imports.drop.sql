drop function public.enter_import_rejects(uuid, uuid);
drop function public.merge_imported_offers(uuid);
drop function public.restate_imported_offers(uuid);
drop function public.restate_imported_layovers(uuid[], bigint[]);
drop function public.open_import_staging();
drop table public.offer_rejects;
drop table public.offer_imports;
