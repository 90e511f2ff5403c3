-- What pre-data.sql, post-data.sql and globals.sql were dumped from, by pg_dump and pg_dumpall 15, as superuser "postgres":
--   pg_dump --section=pre-data nasty · pg_dump --section=post-data nasty · pg_dumpall --globals-only
SET allow_in_place_tablespaces = true;
CREATE TABLESPACE "fast; disk" LOCATION '';
CREATE ROLE "own'er; Type: X" NOLOGIN;
CREATE ROLE reader LOGIN CONNECTION LIMIT 3;
COMMENT ON ROLE reader IS E'reads; -- nothing\n--\n-- Name: fake; Type: TABLE; Schema: -; Owner: -\n--\nDROP ROLE reader;';
ALTER ROLE reader SET search_path = 'a;b', public;
GRANT reader TO "own'er; Type: X";
CREATE SCHEMA app AUTHORIZATION "own'er; Type: X";
CREATE SCHEMA "sch""ema
with newline";
CREATE EXTENSION hstore;
CREATE TYPE app.mood AS ENUM ('sad', 'it''s; ok', E'back\\slash', 'größe');
CREATE TYPE app.pair AS (a int, "b;c" text);
CREATE TYPE app.span AS RANGE (subtype = float8);
CREATE DOMAIN app.code AS text DEFAULT '--' CONSTRAINT shape CHECK (VALUE ~ E'^\\d+;$' OR VALUE = '/* not */');
CREATE TABLE public.t (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "semi;colon" text DEFAULT 'a;b''c--d',
    "quo""te" text DEFAULT E'tab\there\\',
    "new
line" app.mood DEFAULT 'it''s; ok',
    "-- Name: x; Type: TABLE; Schema: y; Owner: z" int,
    code app.code,
    doubled int GENERATED ALWAYS AS (1 + 1) STORED,
    CHECK ("semi;colon" <> '$$' AND "semi;colon" <> '$a$; DROP TABLE t; $a$')
);
COMMENT ON TABLE public.t IS E'\n--\n-- Name: evil; Type: TABLE; Schema: public; Owner: postgres\n--\n\nDROP TABLE t;\n\\connect other\n';
COMMENT ON COLUMN public.t."new
line" IS 'two
lines; with ''quotes'' and \ and /* no comment';
CREATE TABLE public."ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
" (id int NOT NULL, "ключ" text UNIQUE DEFERRABLE, PRIMARY KEY (id) INCLUDE ("ключ"));
CREATE TABLE "sch""ema
with newline"."a$b$c" (a$b$c int, "$$" text) TABLESPACE "fast; disk";
CREATE INDEX "in;dex" ON "sch""ema
with newline"."a$b$c" ((a$b$c + 1)) TABLESPACE "fast; disk" WHERE "$$" <> ';';
CREATE INDEX ON public.t ("semi;colon" text_pattern_ops) INCLUDE (code);
CREATE TABLE app.parted (at timestamptz NOT NULL, n int) PARTITION BY RANGE (at);
CREATE TABLE app.parted_2026 PARTITION OF app.parted FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z');
CREATE TABLE app.parted_rest PARTITION OF app.parted DEFAULT;
CREATE INDEX ON app.parted (n);
CREATE TABLE app.child (extra int) INHERITS (public.t);
CREATE TABLE app.ref (t_id bigint REFERENCES public.t ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, span app.span,
    EXCLUDE USING gist (span WITH &&));
CREATE UNLOGGED TABLE app.scratch (x hstore);
CREATE SEQUENCE app."se;q" INCREMENT -3 MINVALUE -100 START -1 CACHE 7 CYCLE;
CREATE VIEW app.v AS SELECT id, CASE WHEN "semi;colon" = ';' THEN '-- x' ELSE '/* y' END AS "c;d" FROM public.t;
CREATE RECURSIVE VIEW app.r (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 10;
CREATE MATERIALIZED VIEW app.m AS SELECT count(*) AS c, ';' AS s FROM public.t;
CREATE UNIQUE INDEX ON app.m (c);
CREATE RULE several AS ON INSERT TO app.v DO INSTEAD (INSERT INTO public.t (code) VALUES ('1;'); DELETE FROM app.ref; NOTIFY app);
CREATE FUNCTION app.plain() RETURNS trigger LANGUAGE plpgsql AS $body$
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
$body$ SECURITY DEFINER SET search_path = app, pg_temp;
CREATE FUNCTION app.dollars(text) RETURNS text LANGUAGE sql AS 'SELECT $_$ $1 $_$ || $$;$$ || $1 || ''\''';
CREATE FUNCTION app.atomic(a int, b int DEFAULT 7) RETURNS int LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO app.ref (t_id) VALUES (a);
    SELECT CASE WHEN a > 1 THEN CASE b WHEN 2 THEN 3 END ELSE length(';') END;
END;
CREATE PROCEDURE app.do_it(INOUT "x;y" int) LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM app.ref WHERE t_id = "x;y";
    SELECT 1;
END;
CREATE OR REPLACE FUNCTION app.returning() RETURNS int LANGUAGE sql RETURN (SELECT CASE WHEN true THEN 1 END);
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION app.minus(app.pair, app.pair) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR app.-@ (LEFTARG = app.pair, RIGHTARG = app.pair, FUNCTION = app.minus);
CREATE CAST (app.pair AS text) WITH INOUT;
CREATE COLLATION app."C;C" FROM "C";
CREATE TEXT SEARCH DICTIONARY app.dict (TEMPLATE = simple, StopWords = english);
CREATE STATISTICS app.stat ON id, code FROM public.t;
CREATE TRIGGER "trig;ger" BEFORE UPDATE OF code ON public.t FOR EACH ROW
    WHEN (NEW.code IS DISTINCT FROM ';--') EXECUTE FUNCTION app.plain();
ALTER TABLE public.t DISABLE TRIGGER "trig;ger";
CREATE EVENT TRIGGER "on;ddl" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION app.watch();
ALTER EVENT TRIGGER "on;ddl" ENABLE ALWAYS;
CREATE POLICY "pol;icy" ON public.t FOR SELECT TO reader USING ("semi;colon" <> ')');
ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;
CREATE PUBLICATION pub FOR TABLE public.t WHERE (id > 5), TABLES IN SCHEMA app;
GRANT SELECT ("semi;colon"), UPDATE (code) ON public.t TO reader WITH GRANT OPTION;
GRANT USAGE ON SCHEMA app TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO reader;
ALTER TABLE app.child OWNER TO "own'er; Type: X";
SELECT lo_create(424242);
COMMENT ON LARGE OBJECT 424242 IS 'lo;';
