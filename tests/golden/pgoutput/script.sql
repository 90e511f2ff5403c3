-- What messages.hex was captured from, by PostgreSQL 15: one message a line, as pg_logical_slot_get_binary_changes
-- gives them with proto_version 1 and messages true; binary.hex with binary true as well.
CREATE TYPE mood AS ENUM ('sad', 'größe');
CREATE TABLE plain (id int PRIMARY KEY, v varchar(10), big text, m mood);
ALTER TABLE plain ALTER big SET STORAGE EXTERNAL;
CREATE TABLE whole (a numeric(10,2), "b c" text, gone int, g int GENERATED ALWAYS AS (1) STORED);
ALTER TABLE whole DROP gone;
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE keyed (x int NOT NULL, y int);
CREATE UNIQUE INDEX keyed_x ON keyed (x);
ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_x;
CREATE PUBLICATION p FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('text', 'pgoutput'), pg_create_logical_replication_slot('bin', 'pgoutput');
BEGIN;
INSERT INTO plain VALUES (1, 'ä', repeat('x', 3000), 'größe'), (2, NULL, NULL, 'sad');
UPDATE plain SET v = 'w' WHERE id = 1; -- the key stays, big is unchanged
UPDATE plain SET id = 3 WHERE id = 1;  -- the key changes, big is unchanged
DELETE FROM plain WHERE id = 2;
INSERT INTO whole VALUES (1.50, E'tab\there'), ('NaN', '');
UPDATE whole SET a = 2 WHERE a = 1.5;
DELETE FROM whole WHERE "b c" = '';
INSERT INTO keyed VALUES (1, 2);
UPDATE keyed SET x = 5;
SELECT pg_logical_emit_message(true, 'holdfast', E'in\\000side'::bytea);
COMMIT;
SELECT pg_logical_emit_message(false, 'other', 'outside');
TRUNCATE plain, keyed RESTART IDENTITY CASCADE;
SELECT pg_replication_origin_create('elsewhere');
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/AB', '2026-01-01Z');
INSERT INTO keyed VALUES (7, NULL);
COMMIT;
