-- ALWAYS: also for sessions with session_replication_role = replica, whose rows are captured too.
create event trigger holdfast_ddl on ddl_command_end execute function holdfast.on_ddl();
alter event trigger holdfast_ddl enable always;
create event trigger holdfast_drop on sql_drop execute function holdfast.on_drop();
alter event trigger holdfast_drop enable always;
create event trigger holdfast_rewrite on table_rewrite execute function holdfast.on_rewrite();
alter event trigger holdfast_rewrite enable always;
