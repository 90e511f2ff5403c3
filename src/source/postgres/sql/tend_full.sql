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
begin
    select c.relreplident into v_identity from pg_class c
    where c.oid = v_table and c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
        and c.relnamespace <> 'holdfast'::regnamespace;
    if v_identity is null or pg_get_replica_identity_index(v_table) is not null then
        return;
    end if;
    if v_identity <> 'f' then
        execute format('alter table only %s replica identity full', v_table::regclass);
        insert into holdfast.identity_change (relid, relname, before, forced)
        values (v_table, v_table::regclass::text, v_identity, true);
    elsif exists (
        select from pg_index i
        where i.indrelid = v_table and i.indisprimary and i.indimmediate and i.indisvalid)
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
