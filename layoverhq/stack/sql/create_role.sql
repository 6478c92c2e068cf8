-- A login role that row-level security binds and that makes neither roles nor databases.
create role {role} login nosuperuser nobypassrls nocreaterole nocreatedb password {password}
