drop function public.erase_audit_values(uuid);
drop function public.audit_reading(text, text, uuid);
drop function public.enable_audit(regclass, text[], text[], text, text, text);
drop function public.audit_trigger_function();
drop function public.audit_row_id(jsonb, jsonb);
drop function public.audit_masked(jsonb, text, text);
drop function public.audit_redacted(jsonb, jsonb);
