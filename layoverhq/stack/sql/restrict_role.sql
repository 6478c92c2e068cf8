alter role {role} nosuperuser nobypassrls nocreaterole nocreatedb
