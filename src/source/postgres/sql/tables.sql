-- The tables whose rows the stream carries, and by what they are told apart. Read from the catalog alone: asking for a
-- table's identity index would lock the table.
select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relreplident,
    c.relreplident = 'f' or exists (
        select from pg_index i
        where i.indrelid = c.oid and i.indisvalid and i.indimmediate
            and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)
            -- The stream does not carry what is generated.
            and not exists (
                select from pg_attribute a
                where a.attrelid = c.oid and a.attgenerated <> ''
                    and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1]))) as usable,
    exists (
        select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where r.prrelid = c.oid and p.pubname = '{keyed}') as keyed
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence = 'p' and c.oid >= 16384 and n.nspname <> '{schema}'
order by c.oid
