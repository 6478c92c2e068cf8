-- Operators enter rates from here on; the seed's own rows are not news.

select public.enable_audit('public.exchange_rates');
