//! What each SQLSTATE is called, and whether its message may be repeated without repeating a row's values (L6).

/// How much of a message may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// All: the condition speaks of sessions, objects or the machine.
    Whole,
    /// All but what stands in quotation marks: internal errors, which extensions use for anything.
    WithoutQuotes,
    /// Nothing: the condition may speak of rows or quote a statement.
    Silent,
}

/// How much of the message of a condition may be repeated. What is not known is silent.
pub(super) fn speech(sqlstate: &str) -> Speech {
    match sqlstate {
        // In classes that speak otherwise: these quote the statement, the input or an enum's label.
        "42000" | "42601" | "42602" | "42622" | "55P04" => Speech::Silent,
        _ => match sqlstate.get(..2) {
            Some(
                "08" | "0A" | "25" | "26" | "28" | "2B" | "34" | "3D" | "3F" | "40" | "42" | "53" | "55" | "57" | "58"
                | "F0",
            ) => Speech::Whole,
            Some("XX") => Speech::WithoutQuotes,
            Some(_) | None => Speech::Silent,
        },
    }
}

/// The condition's name in the manual's appendix *PostgreSQL Error Codes*, or that of its class.
pub(super) fn condition(sqlstate: &str) -> &'static str {
    let named =
        |table: &[(&str, &'static str)], code: &str| table.iter().find(|(key, _)| *key == code).map(|(_, name)| *name);
    named(&CONDITIONS, sqlstate)
        .or_else(|| sqlstate.get(..2).and_then(|class| named(&CLASSES, class)))
        .unwrap_or("unknown condition")
}

#[rustfmt::skip]
const CONDITIONS: [(&str, &str); 74] = [
    ("0A000", "feature_not_supported"), ("22001", "string_data_right_truncation"), ("22003", "numeric_value_out_of_range"),
    ("22004", "null_value_not_allowed"), ("22007", "invalid_datetime_format"), ("22008", "datetime_field_overflow"),
    ("22012", "division_by_zero"), ("22021", "character_not_in_repertoire"), ("22023", "invalid_parameter_value"),
    ("22026", "string_data_length_mismatch"), ("22032", "invalid_json_text"), ("22P01", "floating_point_exception"),
    ("22P02", "invalid_text_representation"), ("22P03", "invalid_binary_representation"), ("22P04", "bad_copy_file_format"),
    ("22P05", "untranslatable_character"), ("23000", "integrity_constraint_violation"), ("23001", "restrict_violation"),
    ("23502", "not_null_violation"), ("23503", "foreign_key_violation"), ("23505", "unique_violation"),
    ("23514", "check_violation"), ("23P01", "exclusion_violation"), ("25001", "active_sql_transaction"),
    ("25006", "read_only_sql_transaction"), ("25P01", "no_active_sql_transaction"), ("25P02", "in_failed_sql_transaction"),
    ("25P03", "idle_in_transaction_session_timeout"), ("26000", "invalid_sql_statement_name"),
    ("28000", "invalid_authorization_specification"), ("28P01", "invalid_password"), ("2BP01", "dependent_objects_still_exist"),
    ("34000", "invalid_cursor_name"), ("3D000", "invalid_catalog_name"), ("3F000", "invalid_schema_name"),
    ("40001", "serialization_failure"), ("40P01", "deadlock_detected"), ("42501", "insufficient_privilege"),
    ("42601", "syntax_error"), ("42602", "invalid_name"), ("42622", "name_too_long"), ("42701", "duplicate_column"),
    ("42703", "undefined_column"), ("42704", "undefined_object"), ("42710", "duplicate_object"), ("42804", "datatype_mismatch"),
    ("42846", "cannot_coerce"), ("42883", "undefined_function"), ("428C9", "generated_always"), ("42P01", "undefined_table"),
    ("42P04", "duplicate_database"), ("42P06", "duplicate_schema"), ("42P07", "duplicate_table"),
    ("42P10", "invalid_column_reference"), ("44000", "with_check_option_violation"), ("53100", "disk_full"),
    ("53200", "out_of_memory"), ("53300", "too_many_connections"), ("53400", "configuration_limit_exceeded"),
    ("54000", "program_limit_exceeded"), ("55000", "object_not_in_prerequisite_state"), ("55006", "object_in_use"),
    ("55P02", "cant_change_runtime_param"), ("55P03", "lock_not_available"), ("55P04", "unsafe_new_enum_value_usage"),
    ("57014", "query_canceled"), ("57P01", "admin_shutdown"), ("57P02", "crash_shutdown"), ("57P03", "cannot_connect_now"),
    ("58P01", "undefined_file"), ("58P02", "duplicate_file"), ("P0001", "raise_exception"), ("XX001", "data_corrupted"),
    ("XX002", "index_corrupted"),
];

#[rustfmt::skip]
const CLASSES: [(&str, &str); 29] = [
    ("08", "connection exception"), ("0A", "feature not supported"), ("0B", "invalid transaction initiation"),
    ("20", "case not found"), ("21", "cardinality violation"), ("22", "data exception"),
    ("23", "integrity constraint violation"), ("24", "invalid cursor state"), ("25", "invalid transaction state"),
    ("26", "invalid SQL statement name"), ("27", "triggered data change violation"),
    ("28", "invalid authorization specification"), ("2B", "dependent privilege descriptors still exist"),
    ("2D", "invalid transaction termination"), ("2F", "SQL routine exception"), ("34", "invalid cursor name"),
    ("38", "external routine exception"), ("39", "external routine invocation exception"), ("3B", "savepoint exception"),
    ("40", "transaction rollback"), ("42", "syntax error or access rule violation"), ("53", "insufficient resources"),
    ("54", "program limit exceeded"), ("55", "object not in prerequisite state"), ("57", "operator intervention"),
    ("58", "system error"), ("F0", "configuration file error"), ("P0", "PL/pgSQL error"), ("XX", "internal error"),
];
