-- Who may enter the database and what each may make in it. Re-runnable.
-- The owner makes all objects; migrations grant on each what the two others may do with it.
revoke all on schema public from public;
grant usage, create on schema public to {owner};
grant usage on schema public to {operator}, {app};

revoke all on database {database} from public;
grant connect, create, temporary on database {database} to {owner};
-- The operator's bulk loads pass through temporary tables: COPY refuses a table with policies.
grant connect, temporary on database {database} to {operator};
grant connect on database {database} to {app}
