drop function public.offer_seen_at(timestamptz, text, text, text, date, boolean);
drop table public.offer_confirmations;
