-- The two roles and the database, for a PostgreSQL (15 or newer) of your own. Run once as a superuser:
--
--   psql -v owner_password=… -v application_password=… -f deploy/roles.sql
--
-- The owner migrates, the application trades; the application owns nothing, so that the database itself refuses
-- what must never happen. Test runs also need: ALTER ROLE tickhouse_owner CREATEDB.

\set ON_ERROR_STOP on

CREATE ROLE tickhouse_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE tickhouse LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'application_password';
ALTER ROLE tickhouse SET lock_timeout = '2s';
ALTER ROLE tickhouse SET statement_timeout = '10s';
-- The owner may end the application's connections.
GRANT tickhouse TO tickhouse_owner;
CREATE DATABASE tickhouse OWNER tickhouse_owner;
