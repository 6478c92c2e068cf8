-- What the operator's pages read about the server's health. Re-runnable.
create extension if not exists pg_stat_statements;
grant pg_monitor to {operator}
