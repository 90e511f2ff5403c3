-- identity = full: gives a table without a usable identity REPLICA IDENTITY FULL, and takes that back when the table has
-- a key again. While it runs only triggers that fire ALWAYS do: no other event trigger may forbid what it does.
create or replace function holdfast.tend_identity(v_table oid) returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp
set holdfast.tending = 'yes' set session_replication_role = 'replica'
as $$
declare
    v_identity "char";
    v_before "char";
    v_forced boolean;
    v_generated boolean;
begin
    select c.relreplident into v_identity from pg_class c
    where c.oid = v_table and c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
        and c.relnamespace <> 'holdfast'::regnamespace;
    -- The stream does not carry what is generated: by a key with such a column no row can be found again. By all other
    -- columns it can, for it follows from them.
    select exists (
        select from pg_index i join pg_attribute a on a.attrelid = i.indrelid
        where i.indexrelid = coalesce(pg_get_replica_identity_index(v_table), (
                select p.indexrelid from pg_index p where p.indrelid = v_table and p.indisprimary))
            and a.attgenerated <> '' and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
    into v_generated;
    if v_identity is null or pg_get_replica_identity_index(v_table) is not null and not v_generated then
        return;
    end if;
    if v_identity <> 'f' then
        execute format('alter table only %s replica identity full', v_table::regclass);
        insert into holdfast.identity_change (relid, relname, before, forced)
        values (v_table, v_table::regclass::text, v_identity, true);
    elsif exists (
        select from pg_index i
        where i.indrelid = v_table and i.indisprimary and i.indimmediate and i.indisvalid) and not v_generated
    then
        select f.forced, f.before into v_forced, v_before from holdfast.identity_change f
        where f.relid = v_table order by f.entry desc limit 1;
        if v_forced and v_before <> 'n' then
            execute format('alter table only %s replica identity default', v_table::regclass);
            insert into holdfast.identity_change (relid, relname, before, forced)
            values (v_table, v_table::regclass::text, v_before, false);
        end if;
    end if;
end
$$;
