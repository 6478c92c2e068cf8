drop table public.experiences;
drop function public.note_changed_experiences();
