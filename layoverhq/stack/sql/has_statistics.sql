-- Whether the extension can be made here: installed, and loaded at the server's start.
select exists (
    select
    from pg_available_extensions
    where name = 'pg_stat_statements'
)
and current_setting('shared_preload_libraries') like {library}
