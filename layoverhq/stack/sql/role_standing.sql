-- Whether the role exists, and whether it holds an attribute that it must not have.
select
    rolsuper or rolbypassrls or rolcreaterole or rolcreatedb as too_mighty
from pg_roles
where rolname = {role}
