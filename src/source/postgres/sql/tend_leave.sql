-- identity = leave: keeps the publication of updates and deletes to the tables that have an identity. A member of a
-- publication cannot become unlogged; this is the price of leaving identities alone.
create or replace function holdfast.tend_identity(v_table oid) returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp
set holdfast.tending = 'yes' set session_replication_role = 'replica'
as $$
declare
    v_identity "char";
    v_member boolean;
    v_usable boolean;
begin
    select c.relreplident into v_identity from pg_class c
    where c.oid = v_table and c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384
        and c.relnamespace <> 'holdfast'::regnamespace;
    if v_identity is null or not exists (select from pg_publication where pubname = '{keyed}') then
        return;
    end if;
    -- The stream does not carry what is generated: by a key with such a column no row can be found again. From PostgreSQL
    -- 18 on an identity of all columns fails where one of them is generated.
    v_usable := case when v_identity = 'f' then
            current_setting('server_version_num')::int < 180000 or not exists (
                select from pg_attribute a where a.attrelid = v_table and a.attgenerated <> '' and not a.attisdropped)
        else pg_get_replica_identity_index(v_table) is not null and not exists (
            select from pg_index i join pg_attribute a on a.attrelid = i.indrelid
            where i.indexrelid = pg_get_replica_identity_index(v_table)
                and a.attgenerated <> '' and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])) end;
    v_member := exists (select from pg_get_publication_tables('{keyed}') m where m.relid = v_table);
    if v_usable and not v_member then
        execute format('alter publication {keyed} add table only %s', v_table::regclass);
    elsif v_member and not v_usable then
        execute format('alter publication {keyed} drop table only %s', v_table::regclass);
    end if;
end
$$;
