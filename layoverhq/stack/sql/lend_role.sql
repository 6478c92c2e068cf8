-- Only a member may make a database in the role's name; a superuser need not be one.
grant {role} to current_user with inherit false, set true
