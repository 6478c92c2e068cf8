-- Blanks the audit trail's values of an enterprise whose erasure was confirmed, and of no other:
-- called by apps.tenants.offboarding as the last step of the erasure. Returns how many events.
create function public.erase_offboarded_trail(leaving uuid) returns bigint
language plpgsql
security definer
set search_path = public, pg_temp
as $$
begin
    if not exists (
        select from offboardings o where o.enterprise_id = leaving and o.stage = 'erasing'
    ) then
        raise exception 'enterprise % is not being erased', leaving;
    end if;
    return erase_audit_values(leaving);
end
$$;

revoke execute on function public.erase_offboarded_trail(uuid) from public;
grant execute on function public.erase_offboarded_trail(uuid) to layoverhq_operator;
