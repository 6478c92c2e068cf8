drop table public.layover_inputs;
