--
-- PostgreSQL database dump
--

\restrict S1N2tpS0ZKwwQ7G0mwxRF8QZl5E9IP6hKcMJ8lnI7PirfLyB71IdM5N4qIT6Vx0

-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: app; Type: SCHEMA; Schema: -; Owner: own'er; Type: X
--

CREATE SCHEMA app;


ALTER SCHEMA app OWNER TO "own'er; Type: X";

--
-- Name: sch"ema with newline; Type: SCHEMA; Schema: -; Owner: postgres
--

CREATE SCHEMA "sch""ema
with newline";


ALTER SCHEMA "sch""ema
with newline" OWNER TO postgres;

--
-- Name: C;C; Type: COLLATION; Schema: app; Owner: postgres
--

CREATE COLLATION app."C;C" (provider = libc, locale = 'C');


ALTER COLLATION app."C;C" OWNER TO postgres;

--
-- Name: hstore; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;


--
-- Name: EXTENSION hstore; Type: COMMENT; Schema: -; Owner: 
--

COMMENT ON EXTENSION hstore IS 'data type for storing sets of (key, value) pairs';


--
-- Name: code; Type: DOMAIN; Schema: app; Owner: postgres
--

CREATE DOMAIN app.code AS text DEFAULT '--'::text
	CONSTRAINT shape CHECK (((VALUE ~ '^\d+;$'::text) OR (VALUE = '/* not */'::text)));


ALTER DOMAIN app.code OWNER TO postgres;

--
-- Name: mood; Type: TYPE; Schema: app; Owner: postgres
--

CREATE TYPE app.mood AS ENUM (
    'sad',
    'it''s; ok',
    'back\slash',
    'größe'
);


ALTER TYPE app.mood OWNER TO postgres;

--
-- Name: pair; Type: TYPE; Schema: app; Owner: postgres
--

CREATE TYPE app.pair AS (
	a integer,
	"b;c" text
);


ALTER TYPE app.pair OWNER TO postgres;

--
-- Name: span; Type: TYPE; Schema: app; Owner: postgres
--

CREATE TYPE app.span AS RANGE (
    subtype = double precision,
    multirange_type_name = app.span_multirange
);


ALTER TYPE app.span OWNER TO postgres;

--
-- Name: CAST (app.pair AS text); Type: CAST; Schema: -; Owner: -
--

CREATE CAST (app.pair AS text) WITH INOUT;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: ref; Type: TABLE; Schema: app; Owner: postgres
--

CREATE TABLE app.ref (
    t_id bigint,
    span app.span
);


ALTER TABLE app.ref OWNER TO postgres;

--
-- Name: atomic(integer, integer); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.atomic(a integer, b integer DEFAULT 7) RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 INSERT INTO app.ref (t_id)
   VALUES (atomic.a);
 SELECT
         CASE
             WHEN (a > 1) THEN
             CASE b
                 WHEN 2 THEN 3
                 ELSE NULL::integer
             END
             ELSE length(';'::text)
         END AS length;
END;


ALTER FUNCTION app.atomic(a integer, b integer) OWNER TO postgres;

--
-- Name: do_it(integer); Type: PROCEDURE; Schema: app; Owner: postgres
--

CREATE PROCEDURE app.do_it(INOUT "x;y" integer)
    LANGUAGE sql
    BEGIN ATOMIC
 DELETE FROM app.ref
   WHERE (ref.t_id = do_it."x;y");
 SELECT 1;
END;


ALTER PROCEDURE app.do_it(INOUT "x;y" integer) OWNER TO postgres;

--
-- Name: dollars(text); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.dollars(text) RETURNS text
    LANGUAGE sql
    AS $_X$SELECT $_$ $1 $_$ || $$;$$ || $1 || '\'$_X$;


ALTER FUNCTION app.dollars(text) OWNER TO postgres;

--
-- Name: minus(app.pair, app.pair); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.minus(app.pair, app.pair) RETURNS integer
    LANGUAGE sql
    AS $$SELECT 1$$;


ALTER FUNCTION app.minus(app.pair, app.pair) OWNER TO postgres;

--
-- Name: plain(); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.plain() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'app', 'pg_temp'
    AS $_$
BEGIN
    -- a comment with a 'quote and a ; semicolon
    RAISE NOTICE 'x; % $$ y', $$
--
-- Name: fake; Type: FUNCTION; Schema: app; Owner: postgres
--
$$;
    /* unclosed "quote
\connect is no command here
\unrestrict neither is this */
    RETURN NEW;
END;
$_$;


ALTER FUNCTION app.plain() OWNER TO postgres;

--
-- Name: returning(); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app."returning"() RETURNS integer
    LANGUAGE sql
    RETURN (SELECT CASE WHEN true THEN 1 ELSE NULL::integer END AS "case");


ALTER FUNCTION app."returning"() OWNER TO postgres;

--
-- Name: watch(); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.watch() RETURNS event_trigger
    LANGUAGE plpgsql
    AS $$BEGIN NULL; END$$;


ALTER FUNCTION app.watch() OWNER TO postgres;

--
-- Name: total(integer); Type: AGGREGATE; Schema: app; Owner: postgres
--

CREATE AGGREGATE app.total(integer) (
    SFUNC = int4pl,
    STYPE = integer,
    INITCOND = '0'
);


ALTER AGGREGATE app.total(integer) OWNER TO postgres;

--
-- Name: -@; Type: OPERATOR; Schema: app; Owner: postgres
--

CREATE OPERATOR app.-@ (
    FUNCTION = app.minus,
    LEFTARG = app.pair,
    RIGHTARG = app.pair
);


ALTER OPERATOR app.-@ (app.pair, app.pair) OWNER TO postgres;

--
-- Name: dict; Type: TEXT SEARCH DICTIONARY; Schema: app; Owner: postgres
--

CREATE TEXT SEARCH DICTIONARY app.dict (
    TEMPLATE = pg_catalog.simple,
    stopwords = 'english' );


ALTER TEXT SEARCH DICTIONARY app.dict OWNER TO postgres;

--
-- Name: t; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.t (
    id bigint NOT NULL,
    "semi;colon" text DEFAULT 'a;b''c--d'::text,
    "quo""te" text DEFAULT 'tab	here\'::text,
    "new
line" app.mood DEFAULT 'it''s; ok'::app.mood,
    "-- Name: x; Type: TABLE; Schema: y; Owner: z" integer,
    code app.code,
    doubled integer GENERATED ALWAYS AS ((1 + 1)) STORED,
    CONSTRAINT "t_semi;colon_check" CHECK ((("semi;colon" <> '$$'::text) AND ("semi;colon" <> '$a$; DROP TABLE t; $a$'::text)))
);


ALTER TABLE public.t OWNER TO postgres;

--
-- Name: TABLE t; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON TABLE public.t IS '
--
-- Name: evil; Type: TABLE; Schema: public; Owner: postgres
--

DROP TABLE t;
\connect other
';


--
-- Name: COLUMN t."new line"; Type: COMMENT; Schema: public; Owner: postgres
--

COMMENT ON COLUMN public.t."new
line" IS 'two
lines; with ''quotes'' and \ and /* no comment';


--
-- Name: child; Type: TABLE; Schema: app; Owner: own'er; Type: X
--

CREATE TABLE app.child (
    extra integer
)
INHERITS (public.t);


ALTER TABLE app.child OWNER TO "own'er; Type: X";

--
-- Name: m; Type: MATERIALIZED VIEW; Schema: app; Owner: postgres
--

CREATE MATERIALIZED VIEW app.m AS
 SELECT count(*) AS c,
    ';'::text AS s
   FROM public.t
  WITH NO DATA;


ALTER TABLE app.m OWNER TO postgres;

--
-- Name: parted; Type: TABLE; Schema: app; Owner: postgres
--

CREATE TABLE app.parted (
    at timestamp with time zone NOT NULL,
    n integer
)
PARTITION BY RANGE (at);


ALTER TABLE app.parted OWNER TO postgres;

--
-- Name: parted_2026; Type: TABLE; Schema: app; Owner: postgres
--

CREATE TABLE app.parted_2026 (
    at timestamp with time zone NOT NULL,
    n integer
);


ALTER TABLE app.parted_2026 OWNER TO postgres;

--
-- Name: parted_rest; Type: TABLE; Schema: app; Owner: postgres
--

CREATE TABLE app.parted_rest (
    at timestamp with time zone NOT NULL,
    n integer
);


ALTER TABLE app.parted_rest OWNER TO postgres;

--
-- Name: r; Type: VIEW; Schema: app; Owner: postgres
--

CREATE VIEW app.r AS
 WITH RECURSIVE r(n) AS (
         VALUES (1)
        UNION ALL
         SELECT (r_1.n + 1)
           FROM r r_1
          WHERE (r_1.n < 10)
        )
 SELECT r.n
   FROM r;


ALTER TABLE app.r OWNER TO postgres;

--
-- Name: scratch; Type: TABLE; Schema: app; Owner: postgres
--

CREATE UNLOGGED TABLE app.scratch (
    x public.hstore
);


ALTER TABLE app.scratch OWNER TO postgres;

--
-- Name: se;q; Type: SEQUENCE; Schema: app; Owner: postgres
--

CREATE SEQUENCE app."se;q"
    START WITH -1
    INCREMENT BY -3
    MINVALUE -100
    NO MAXVALUE
    CACHE 7
    CYCLE;


ALTER TABLE app."se;q" OWNER TO postgres;

--
-- Name: v; Type: VIEW; Schema: app; Owner: postgres
--

CREATE VIEW app.v AS
 SELECT t.id,
        CASE
            WHEN (t."semi;colon" = ';'::text) THEN '-- x'::text
            ELSE '/* y'::text
        END AS "c;d"
   FROM public.t;


ALTER TABLE app.v OWNER TO postgres;

--
-- Name: t_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

ALTER TABLE public.t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.t_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: ü;"表 -- -- Name: i; Type: VIEW; Schema: p; Owner: x -- ; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public."ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
" (
    id integer NOT NULL,
    "ключ" text
);


ALTER TABLE public."ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
" OWNER TO postgres;

SET default_tablespace = "fast; disk";

--
-- Name: a$b$c; Type: TABLE; Schema: sch"ema with newline; Owner: postgres; Tablespace: fast; disk
--

CREATE TABLE "sch""ema
with newline"."a$b$c" (
    "a$b$c" integer,
    "$$" text
);


ALTER TABLE "sch""ema
with newline"."a$b$c" OWNER TO postgres;

--
-- Name: parted_2026; Type: TABLE ATTACH; Schema: app; Owner: postgres
--

ALTER TABLE ONLY app.parted ATTACH PARTITION app.parted_2026 FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');


--
-- Name: parted_rest; Type: TABLE ATTACH; Schema: app; Owner: postgres
--

ALTER TABLE ONLY app.parted ATTACH PARTITION app.parted_rest DEFAULT;


--
-- Name: child semi;colon; Type: DEFAULT; Schema: app; Owner: own'er; Type: X
--

ALTER TABLE ONLY app.child ALTER COLUMN "semi;colon" SET DEFAULT 'a;b''c--d'::text;


--
-- Name: child quo"te; Type: DEFAULT; Schema: app; Owner: own'er; Type: X
--

ALTER TABLE ONLY app.child ALTER COLUMN "quo""te" SET DEFAULT 'tab	here\'::text;


--
-- Name: child new line; Type: DEFAULT; Schema: app; Owner: own'er; Type: X
--

ALTER TABLE ONLY app.child ALTER COLUMN "new
line" SET DEFAULT 'it''s; ok'::app.mood;


--
-- Name: 424242; Type: BLOB; Schema: -; Owner: postgres
--

SELECT pg_catalog.lo_create('424242');


ALTER LARGE OBJECT 424242 OWNER TO postgres;

--
-- Name: LARGE OBJECT 424242; Type: COMMENT; Schema: -; Owner: postgres
--

COMMENT ON LARGE OBJECT 424242 IS 'lo;';


--
-- Name: SCHEMA app; Type: ACL; Schema: -; Owner: own'er; Type: X
--

GRANT USAGE ON SCHEMA app TO reader;


--
-- Name: COLUMN t."semi;colon"; Type: ACL; Schema: public; Owner: postgres
--

GRANT SELECT("semi;colon") ON TABLE public.t TO reader WITH GRANT OPTION;


--
-- Name: COLUMN t.code; Type: ACL; Schema: public; Owner: postgres
--

GRANT UPDATE(code) ON TABLE public.t TO reader WITH GRANT OPTION;


--
-- PostgreSQL database dump complete
--

\unrestrict S1N2tpS0ZKwwQ7G0mwxRF8QZl5E9IP6hKcMJ8lnI7PirfLyB71IdM5N4qIT6Vx0

