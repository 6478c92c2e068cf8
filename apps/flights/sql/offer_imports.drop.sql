drop function public.store_imported_offers(uuid, uuid);
drop function public.open_import_staging();
drop table public.offer_rejects;
drop table public.offer_imports;
