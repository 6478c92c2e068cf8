drop function public.report_process_end(uuid);
drop function public.report_process(uuid, text, text, integer, timestamptz, jsonb);
drop table public.processes;
