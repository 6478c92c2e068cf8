-- Operators change experiences from here on; the migration's own rows are not news.

select public.enable_audit('public.experiences', ignored => '{updated_at}');
