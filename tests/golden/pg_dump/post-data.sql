--
-- PostgreSQL database dump
--

\restrict zrVcur5dRWkrDok2yIEdYl58oxzOg71cVZcu6BVNvF6Dl2TZIy15Ec3jIrvs3LA

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

SET default_tablespace = '';

--
-- Name: ref ref_span_excl; Type: CONSTRAINT; Schema: app; Owner: postgres
--

ALTER TABLE ONLY app.ref
    ADD CONSTRAINT ref_span_excl EXCLUDE USING gist (span WITH &&);


--
-- Name: t t_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.t
    ADD CONSTRAINT t_pkey PRIMARY KEY (id);


--
-- Name: ü;"表 -- -- Name: i; Type: VIEW; Schema: p; Owner: x --  ü;"表 -- -- Name: i; Type: VIEW; Schema: p; Owne_ключ_key; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public."ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
"
    ADD CONSTRAINT "ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owne_ключ_key" UNIQUE ("ключ") DEFERRABLE;


--
-- Name: ü;"表 -- -- Name: i; Type: VIEW; Schema: p; Owner: x --  ü;"表 -- -- Name: i; Type: VIEW; Schema: p; Owner: x -- _pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public."ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
"
    ADD CONSTRAINT "ü;""表
--
-- Name: i; Type: VIEW; Schema: p; Owner: x
--
_pkey" PRIMARY KEY (id) INCLUDE ("ключ");


--
-- Name: m_c_idx; Type: INDEX; Schema: app; Owner: postgres
--

CREATE UNIQUE INDEX m_c_idx ON app.m USING btree (c);


--
-- Name: parted_n_idx; Type: INDEX; Schema: app; Owner: postgres
--

CREATE INDEX parted_n_idx ON ONLY app.parted USING btree (n);


--
-- Name: parted_2026_n_idx; Type: INDEX; Schema: app; Owner: postgres
--

CREATE INDEX parted_2026_n_idx ON app.parted_2026 USING btree (n);


--
-- Name: parted_rest_n_idx; Type: INDEX; Schema: app; Owner: postgres
--

CREATE INDEX parted_rest_n_idx ON app.parted_rest USING btree (n);


--
-- Name: t_semi;colon_code_idx; Type: INDEX; Schema: public; Owner: postgres
--

CREATE INDEX "t_semi;colon_code_idx" ON public.t USING btree ("semi;colon" text_pattern_ops) INCLUDE (code);


SET default_tablespace = "fast; disk";

--
-- Name: in;dex; Type: INDEX; Schema: sch"ema with newline; Owner: postgres; Tablespace: fast; disk
--

CREATE INDEX "in;dex" ON "sch""ema
with newline"."a$b$c" USING btree ((("a$b$c" + 1))) WHERE ("$$" <> ';'::text);


--
-- Name: parted_2026_n_idx; Type: INDEX ATTACH; Schema: app; Owner: postgres
--

ALTER INDEX app.parted_n_idx ATTACH PARTITION app.parted_2026_n_idx;


--
-- Name: parted_rest_n_idx; Type: INDEX ATTACH; Schema: app; Owner: postgres
--

ALTER INDEX app.parted_n_idx ATTACH PARTITION app.parted_rest_n_idx;


--
-- Name: stat; Type: STATISTICS; Schema: app; Owner: postgres
--

CREATE STATISTICS app.stat ON id, code FROM public.t;


ALTER STATISTICS app.stat OWNER TO postgres;

--
-- Name: v several; Type: RULE; Schema: app; Owner: postgres
--

CREATE RULE several AS
    ON INSERT TO app.v DO INSTEAD ( INSERT INTO public.t (code)
  VALUES ('1;'::text);
 DELETE FROM app.ref;

 NOTIFY app;
);


--
-- Name: t trig;ger; Type: TRIGGER; Schema: public; Owner: postgres
--

CREATE TRIGGER "trig;ger" BEFORE UPDATE OF code ON public.t FOR EACH ROW WHEN (((new.code)::text IS DISTINCT FROM ';--'::text)) EXECUTE FUNCTION app.plain();

ALTER TABLE public.t DISABLE TRIGGER "trig;ger";


--
-- Name: ref ref_t_id_fkey; Type: FK CONSTRAINT; Schema: app; Owner: postgres
--

ALTER TABLE ONLY app.ref
    ADD CONSTRAINT ref_t_id_fkey FOREIGN KEY (t_id) REFERENCES public.t(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;


--
-- Name: t pol;icy; Type: POLICY; Schema: public; Owner: postgres
--

CREATE POLICY "pol;icy" ON public.t FOR SELECT TO reader USING (("semi;colon" <> ')'::text));


--
-- Name: t; Type: ROW SECURITY; Schema: public; Owner: postgres
--

ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;

--
-- Name: pub; Type: PUBLICATION; Schema: -; Owner: postgres
--

CREATE PUBLICATION pub WITH (publish = 'insert, update, delete, truncate');


ALTER PUBLICATION pub OWNER TO postgres;

--
-- Name: pub child; Type: PUBLICATION TABLE; Schema: app; Owner: postgres
--

ALTER PUBLICATION pub ADD TABLE ONLY app.child WHERE ((id > 5));


--
-- Name: pub t; Type: PUBLICATION TABLE; Schema: public; Owner: postgres
--

ALTER PUBLICATION pub ADD TABLE ONLY public.t WHERE ((id > 5));


--
-- Name: pub app; Type: PUBLICATION TABLES IN SCHEMA; Schema: app; Owner: postgres
--

ALTER PUBLICATION pub ADD TABLES IN SCHEMA app;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: app; Owner: postgres
--

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA app GRANT SELECT ON TABLES  TO reader;


--
-- Name: on;ddl; Type: EVENT TRIGGER; Schema: -; Owner: postgres
--

CREATE EVENT TRIGGER "on;ddl" ON ddl_command_end
         WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
   EXECUTE FUNCTION app.watch();

ALTER EVENT TRIGGER "on;ddl" ENABLE ALWAYS;


ALTER EVENT TRIGGER "on;ddl" OWNER TO postgres;

--
-- Name: m; Type: MATERIALIZED VIEW DATA; Schema: app; Owner: postgres
--

REFRESH MATERIALIZED VIEW app.m;


--
-- PostgreSQL database dump complete
--

\unrestrict zrVcur5dRWkrDok2yIEdYl58oxzOg71cVZcu6BVNvF6Dl2TZIy15Ec3jIrvs3LA

