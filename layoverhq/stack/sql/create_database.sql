create database {database} owner {owner} template template0 encoding 'UTF8'
