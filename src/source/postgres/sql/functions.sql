-- What the event triggers run. Three things rule how it is written:
-- * It must not fail, for then the user's own DDL would. There is no EXCEPTION block: a subtransaction would disturb
--   the order of messages.
-- * In REPEATABLE READ and SERIALIZABLE its SQL sees the catalog of the transaction's snapshot. What decides is asked
--   of functions that read the newest catalog: pg_get_replica_identity_index, pg_get_publication_tables.
-- * It never waits for a lock: the command that fired it holds ACCESS EXCLUSIVE on every table whose identity it changed.
-- Object names go out in the server's encoding, since a translation could fail.

-- Whether the nested command that fires a trigger is our own. Settings of tend_identity say so while it runs.
create or replace function holdfast.is_ours() returns boolean language sql stable parallel unsafe
set search_path = pg_catalog, pg_temp
as $$ select coalesce(current_setting('holdfast.tending', true), '') = 'yes' $$;

-- At the end of a DDL command: says what it did, and sees to the identity of the tables that it touched.
create or replace function holdfast.on_ddl() returns event_trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 3
set bytea_output = 'hex' set lock_timeout = 0
as $$
declare
    v_objects text;
    v_count bigint;
    v_table oid;
begin
    if holdfast.is_ours() then
        return;
    end if;
    for v_table in
        -- Children are not listed. Those whose identity this command may have changed are locked by it.
        with recursive locked as materialized (
            select relation from pg_locks
            where pid = pg_backend_pid() and locktype = 'relation' and mode = 'AccessExclusiveLock' and granted
        ), touched (relid) as (
            select objid from pg_event_trigger_ddl_commands()
            where classid = 'pg_class'::regclass and object_type = 'table'
                and schema_name is distinct from 'pg_temp' and schema_name is distinct from 'holdfast'
            union
            select i.inhrelid from touched t join pg_inherits i on i.inhparent = t.relid
            where tg_tag in ('ALTER TABLE', 'CREATE SCHEMA') and i.inhrelid in (select relation from locked)
        )
        select relid from touched
    loop
        perform holdfast.tend_identity(v_table);
    end loop;
    select count(*),
        string_agg(json_build_object('type', o.object_type, 'identity', o.object_identity, 'relid', o.relid)::text, ',')
            filter (where o.place <= 1000)
    into v_count, v_objects
    from (
        select c.object_type, c.object_identity, row_number() over () as place,
            case when c.classid = 'pg_class'::regclass then c.objid::bigint end as relid
        from pg_event_trigger_ddl_commands() c
        where not c.in_extension
            and c.schema_name is distinct from 'pg_temp' and c.schema_name is distinct from 'holdfast'
            and not exists (
                select from pg_class r
                where r.relpersistence = 't' and r.oid = case c.classid
                    when 'pg_trigger'::regclass then (select tgrelid from pg_trigger where oid = c.objid)
                    when 'pg_rewrite'::regclass then (select ev_class from pg_rewrite where oid = c.objid)
                    when 'pg_policy'::regclass then (select polrelid from pg_policy where oid = c.objid)
                    when 'pg_attrdef'::regclass then (select adrelid from pg_attrdef where oid = c.objid)
                    when 'pg_constraint'::regclass then (select conrelid from pg_constraint where oid = c.objid)
                end)
    ) o;
    if v_count > 0 then
        perform holdfast.say(tg_tag, v_objects, v_count, false);
    end if;
end
$$;

-- After a DDL command dropped something: says what, and sees to the tables that lost what told their rows apart.
create or replace function holdfast.on_drop() returns event_trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 3
set bytea_output = 'hex' set lock_timeout = 0
as $$
declare
    v_objects text;
    v_count bigint;
    v_table oid;
begin
    if holdfast.is_ours() then
        return;
    end if;
    -- A dropped column names its table by OID, a dropped constraint by name, a dropped index not at all.
    for v_table in
        select d.objid from pg_event_trigger_dropped_objects() d
        where d.object_type = 'table column' and not d.is_temporary
        union
        select c.oid from pg_event_trigger_dropped_objects() d
            join pg_namespace n on n.nspname = d.address_names[1]
            join pg_class c on c.relnamespace = n.oid and c.relname = d.address_names[2]
        where d.object_type = 'table constraint' and not d.is_temporary
        union
        select c.oid from pg_class c
        where c.relreplident = 'i' and c.relkind = 'r' and c.relpersistence = 'p'
            and not exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident)
            and exists (
                select from pg_event_trigger_dropped_objects() d where d.object_type = 'index' and not d.is_temporary)
            -- The table that lost it is locked; CONCURRENTLY holds a weaker lock. Others are not ours to wait for.
            and exists (
                select from pg_locks l
                where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.relation = c.oid and l.granted
                    and l.mode in ('AccessExclusiveLock', 'ShareUpdateExclusiveLock'))
    loop
        perform holdfast.tend_identity(v_table);
    end loop;
    select count(*),
        string_agg(json_build_object('type', o.object_type, 'identity', o.object_identity, 'relid', o.relid)::text, ',')
            filter (where o.place <= 1000)
    into v_count, v_objects
    from (
        select d.object_type, d.object_identity, row_number() over () as place,
            case when d.classid = 'pg_class'::regclass then d.objid::bigint end as relid
        from pg_event_trigger_dropped_objects() d
        where not d.is_temporary and d.schema_name is distinct from 'pg_temp'
            and d.schema_name is distinct from 'holdfast'
            -- A rule or a trigger of a temporary table is not temporary itself.
            and d.address_names[1] is distinct from 'pg_temp'
    ) o;
    if v_count > 0 then
        perform holdfast.say(tg_tag, v_objects, v_count, false);
    end if;
end
$$;

-- Before a table is rewritten: its rows will change without being decoded. An empty one has none to lose.
create or replace function holdfast.on_rewrite() returns event_trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp
set datestyle = 'ISO' set intervalstyle = 'postgres' set timezone = 'UTC' set extra_float_digits = 3
set bytea_output = 'hex' set lock_timeout = 0
as $$
declare
    v_object text;
begin
    if holdfast.is_ours() then
        return;
    end if;
    select json_build_object(
            'type', 'table', 'identity', format('%I.%I', n.nspname, c.relname), 'relid', c.oid::bigint,
            'empty', pg_relation_size(c.oid) = 0)::text
    into v_object
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = pg_event_trigger_table_rewrite_oid() and c.relpersistence = 'p' and n.nspname <> 'holdfast';
    if v_object is not null then
        perform holdfast.say(tg_tag, v_object, 1, true);
    end if;
end
$$;

-- Puts a message into the stream, in its place in the transaction.
create or replace function holdfast.say(v_tag text, v_objects text, v_count bigint, v_rewrite boolean)
returns void language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_logical_emit_message(true, '{ddl}',
        '{"tag":' || to_json(v_tag)::text || ',"objects":[' || coalesce(v_objects, '') || '],"count":' || v_count
        || ',"user":' || to_json(session_user::text)::text || ',"rewrite":' || v_rewrite::text || '}');
end
$$;
