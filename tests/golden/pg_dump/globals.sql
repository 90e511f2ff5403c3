--
-- PostgreSQL database cluster dump
--

\restrict aFLk2vOOIdd76Ywz6VTx8tAcRSa1xkaDNWswRYudrcYziHQ12adIZfcWUjt9ifO

SET default_transaction_read_only = off;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

--
-- Roles
--

CREATE ROLE "own'er; Type: X";
ALTER ROLE "own'er; Type: X" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER INHERIT CREATEROLE CREATEDB LOGIN REPLICATION BYPASSRLS;
CREATE ROLE reader;
ALTER ROLE reader WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 3;
COMMENT ON ROLE reader IS 'reads; -- nothing
--
-- Name: fake; Type: TABLE; Schema: -; Owner: -
--
DROP ROLE reader;';

--
-- User Configurations
--

--
-- User Config "reader"
--

ALTER ROLE reader SET search_path TO 'a;b', 'public';


--
-- Role memberships
--

GRANT reader TO "own'er; Type: X" GRANTED BY postgres;




--
-- Tablespaces
--

CREATE TABLESPACE "fast; disk" OWNER postgres LOCATION 'pg_tblspc/16631';


\unrestrict aFLk2vOOIdd76Ywz6VTx8tAcRSa1xkaDNWswRYudrcYziHQ12adIZfcWUjt9ifO

--
-- PostgreSQL database cluster dump complete
--

