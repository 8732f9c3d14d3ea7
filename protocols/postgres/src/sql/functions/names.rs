//! The names themselves: functions without effects, and functions with effects that a pool must know.

use super::super::effects::Effects;
use super::super::words::WordTable;

/// What calling the function with this index in [`EFFECTIVE_TABLE`] leaves behind.
pub(super) const EFFECTS: &[(&str, Effects)] = &[
    ("pg_notify", Effects::UNSAFE_CALL),
    ("set_config", Effects::SET_CONFIG_CALL),
    ("pg_advisory_lock", Effects::ADVISORY_LOCK),
    ("pg_advisory_lock_shared", Effects::ADVISORY_LOCK),
    ("pg_try_advisory_lock", Effects::ADVISORY_LOCK),
    ("pg_try_advisory_lock_shared", Effects::ADVISORY_LOCK),
    ("pg_advisory_unlock", Effects::ADVISORY_UNLOCK),
    ("pg_advisory_unlock_shared", Effects::ADVISORY_UNLOCK),
    ("pg_advisory_unlock_all", Effects::ADVISORY_UNLOCK_ALL),
    ("nextval", Effects::SEQUENCE_STATE),
    ("setval", Effects::SEQUENCE_STATE),
    ("currval", Effects::SEQUENCE_STATE),
    ("lastval", Effects::SEQUENCE_STATE),
    ("pg_replication_origin_session_setup", Effects::REPLICATION),
    ("pg_replication_origin_session_reset", Effects::REPLICATION),
    ("pg_replication_origin_xact_setup", Effects::REPLICATION),
    ("pg_create_logical_replication_slot", Effects::REPLICATION),
    ("pg_create_physical_replication_slot", Effects::REPLICATION),
    ("pg_copy_logical_replication_slot", Effects::REPLICATION),
    ("pg_copy_physical_replication_slot", Effects::REPLICATION),
    ("query_to_xml", Effects::OPAQUE),
    ("query_to_xmlschema", Effects::OPAQUE),
    ("query_to_xml_and_xmlschema", Effects::OPAQUE),
    ("cursor_to_xml", Effects::OPAQUE),
    ("ts_stat", Effects::OPAQUE),
    ("ts_rewrite", Effects::OPAQUE),
    ("crosstab", Effects::OPAQUE),
    ("crosstabn", Effects::OPAQUE),
    ("crosstab2", Effects::OPAQUE),
    ("crosstab3", Effects::OPAQUE),
    ("crosstab4", Effects::OPAQUE),
    ("connectby", Effects::OPAQUE),
    ("xpath_table", Effects::OPAQUE),
];

const EFFECTIVE: [&str; EFFECTS.len()] = first_of_each();

#[allow(clippy::indexing_slicing)] // at compile time
const fn first_of_each() -> [&'static str; EFFECTS.len()] {
    let mut names = [""; EFFECTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = EFFECTS[index].0;
        index += 1;
    }
    names
}

pub(super) static EFFECTIVE_TABLE: WordTable<256> = WordTable::new(&EFFECTIVE);

/// Built-in functions without effects: immutable, stable, or volatile in their result only. What runs SQL given as a
/// text, waits, locks, signals, reads files, or answers differently on a standby is left out.
#[rustfmt::skip] // one name a line is a long way to scroll
const SAFE: &[&str] = &[
    // Aggregates and windows.
    "count", "sum", "min", "max", "avg", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor",
    "array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg", "xmlagg",
    "range_agg", "range_intersect_agg", "any_value", "corr", "covar_pop", "covar_samp", "regr_avgx",
    "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy",
    "regr_syy", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "mode",
    "percentile_cont", "percentile_disc", "rank", "dense_rank", "percent_rank", "cume_dist", "row_number",
    "ntile", "lag", "lead", "first_value", "last_value", "nth_value",
    // Numbers.
    "abs", "cbrt", "ceil", "ceiling", "degrees", "div", "exp", "factorial", "floor", "gcd", "lcm", "ln",
    "log", "log10", "min_scale", "mod", "pi", "power", "pow", "radians", "round", "scale", "sign", "sqrt",
    "trim_scale", "trunc", "width_bucket", "acos", "acosd", "asin", "asind", "atan", "atand", "atan2",
    "atan2d", "cos", "cosd", "cot", "cotd", "sin", "sind", "tan", "tand", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "random", "erf", "erfc", "int2", "int4", "int8", "float4", "float8", "to_number",
    // Text and bytes.
    "ascii", "bit_length", "btrim", "char_length", "character_length", "chr", "concat", "concat_ws",
    "format", "initcap", "left", "length", "lower", "lpad", "ltrim", "md5", "octet_length", "parse_ident",
    "quote_ident", "quote_literal", "quote_nullable", "regexp_count", "regexp_instr", "regexp_like",
    "regexp_match", "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regexp_substr", "repeat", "replace", "reverse", "right", "rpad", "rtrim", "split_part", "starts_with",
    "string_to_array", "string_to_table", "strpos", "substr", "textlen", "to_ascii", "to_hex", "to_bin",
    "to_oct", "translate", "unistr", "upper", "casefold", "convert", "convert_from", "convert_to", "decode",
    "encode", "get_bit", "get_byte", "set_bit", "set_byte", "sha224", "sha256", "sha384", "sha512", "crc32",
    "crc32c", "bit_count", "unicode_version", "icu_unicode_version", "unicode_assigned", "like", "notlike",
    "ilike", "text", "bpchar", "name", "pg_client_encoding",
    // Dates and times.
    "age", "clock_timestamp", "date", "date_add", "date_bin", "date_part", "date_subtract", "date_trunc",
    "isfinite", "justify_days", "justify_hours", "justify_interval", "make_date", "make_interval",
    "make_time", "make_timestamp", "make_timestamptz", "now", "statement_timestamp", "timeofday",
    "transaction_timestamp", "to_char", "to_date", "to_timestamp", "timestamptz", "timetz", "timezone",
    "overlaps",
    // Arrays, ranges, rows.
    "array_append", "array_cat", "array_dims", "array_fill", "array_length", "array_lower", "array_ndims",
    "array_position", "array_positions", "array_prepend", "array_remove", "array_replace", "array_sample",
    "array_shuffle", "array_sort", "array_reverse", "array_to_string", "array_upper", "cardinality",
    "trim_array", "unnest", "generate_series", "generate_subscripts", "int4range", "int8range", "numrange",
    "tsrange", "tstzrange", "daterange", "int4multirange", "int8multirange", "nummultirange",
    "tsmultirange", "tstzmultirange", "datemultirange", "isempty", "lower_inc", "lower_inf", "upper_inc",
    "upper_inf", "range_merge", "multirange", "num_nonnulls", "num_nulls", "row_to_json",
    // JSON.
    "to_json", "to_jsonb", "array_to_json", "json_build_array", "jsonb_build_array", "json_build_object",
    "jsonb_build_object", "json_object", "jsonb_object", "json_array_elements", "jsonb_array_elements",
    "json_array_elements_text", "jsonb_array_elements_text", "json_array_length", "jsonb_array_length",
    "json_each", "jsonb_each", "json_each_text", "jsonb_each_text", "json_extract_path",
    "jsonb_extract_path", "json_extract_path_text", "jsonb_extract_path_text", "json_object_keys",
    "jsonb_object_keys", "json_populate_record", "jsonb_populate_record", "json_populate_recordset",
    "jsonb_populate_recordset", "json_to_record", "jsonb_to_record", "json_to_recordset",
    "jsonb_to_recordset", "jsonb_set", "jsonb_set_lax", "jsonb_insert", "json_strip_nulls",
    "jsonb_strip_nulls", "jsonb_path_exists", "jsonb_path_match", "jsonb_path_query",
    "jsonb_path_query_array", "jsonb_path_query_first", "jsonb_path_exists_tz", "jsonb_path_match_tz",
    "jsonb_path_query_tz", "jsonb_path_query_array_tz", "jsonb_path_query_first_tz", "jsonb_pretty",
    "json_typeof", "jsonb_typeof", "jsonb_exists", "jsonb_exists_any", "jsonb_exists_all", "jsonb_contains",
    "jsonb_contained",
    // Text search, networks, identifiers, enums, geometry, XML.
    "to_tsvector", "to_tsquery", "plainto_tsquery", "phraseto_tsquery", "websearch_to_tsquery", "ts_rank",
    "ts_rank_cd", "ts_headline", "ts_delete", "ts_filter", "setweight", "strip", "numnode", "querytree",
    "tsvector_to_array", "array_to_tsvector", "tsquery_phrase", "abbrev", "broadcast", "family", "host",
    "hostmask", "inet_merge", "inet_same_family", "masklen", "netmask", "network", "set_masklen",
    "macaddr8_set7bit", "gen_random_uuid", "uuidv4", "uuidv7", "uuid_extract_timestamp",
    "uuid_extract_version", "enum_first", "enum_last", "enum_range", "area", "center", "diagonal",
    "diameter", "height", "isclosed", "isopen", "npoints", "pclose", "popen", "radius", "slope", "width",
    "box", "circle", "line", "lseg", "path", "point", "polygon", "bound_box", "xmlcomment", "xpath",
    "xpath_exists", "xml_is_well_formed", "xml_is_well_formed_content", "xml_is_well_formed_document",
    // The session and the catalog, where every server answers alike.
    "current_database", "current_schema", "current_schemas", "current_setting", "version",
    "col_description", "obj_description", "shobj_description", "format_type", "pg_describe_object",
    "pg_identify_object", "pg_get_constraintdef", "pg_get_expr", "pg_get_functiondef",
    "pg_get_function_arguments", "pg_get_function_identity_arguments", "pg_get_function_result",
    "pg_get_function_arg_default", "pg_get_function_sqlbody", "pg_get_indexdef", "pg_get_keywords",
    "pg_get_partkeydef", "pg_get_partition_constraintdef", "pg_get_ruledef", "pg_get_serial_sequence",
    "pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns", "pg_get_triggerdef", "pg_get_userbyid",
    "pg_get_viewdef", "pg_index_column_has_property", "pg_index_has_property", "pg_indexam_has_property",
    "pg_options_to_table", "pg_tablespace_location", "pg_typeof", "to_regclass", "to_regcollation",
    "to_regnamespace", "to_regoper", "to_regoperator", "to_regproc", "to_regprocedure", "to_regrole",
    "to_regtype", "pg_encoding_to_char", "pg_char_to_encoding", "pg_size_pretty", "pg_size_bytes",
    "pg_column_size", "pg_table_is_visible", "pg_type_is_visible", "pg_function_is_visible",
    "pg_operator_is_visible", "pg_opclass_is_visible", "pg_opfamily_is_visible", "pg_conversion_is_visible",
    "pg_collation_is_visible", "pg_statistics_obj_is_visible", "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible",
    "has_any_column_privilege", "has_column_privilege", "has_database_privilege",
    "has_foreign_data_wrapper_privilege", "has_function_privilege", "has_language_privilege",
    "has_parameter_privilege", "has_schema_privilege", "has_sequence_privilege", "has_server_privilege",
    "has_table_privilege", "has_tablespace_privilege", "has_type_privilege", "pg_has_role",
    "row_security_active", "aclexplode", "acldefault", "makeaclitem", "array_in", "regclass",
    "pg_partition_tree", "pg_partition_ancestors", "pg_partition_root", "pg_relation_is_publishable",
    "pg_get_publication_tables", "pg_sequence_parameters", "pg_column_is_updatable",
    "pg_relation_is_updatable", "pg_relation_size", "pg_table_size", "pg_total_relation_size",
    "pg_indexes_size", "pg_database_size", "pg_tablespace_size", "pg_relation_filenode",
    "pg_relation_filepath", "pg_collation_for", "_pg_char_max_length", "_pg_truetypid", "_pg_truetypmod",
    "_pg_expandarray",
];

pub(super) static SAFE_TABLE: WordTable<2048> = WordTable::new(SAFE);
