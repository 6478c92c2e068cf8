drop trigger exchange_rates_audit on public.exchange_rates;
drop trigger exchange_rates_audit_truncate on public.exchange_rates;
