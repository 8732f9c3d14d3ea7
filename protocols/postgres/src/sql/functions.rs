//! What calling a function by its name means: free of effects, with effects that a pool must know, or not known.
//!
//! Names are believed: that nobody defined another `lower` is up to whoever may create functions. Start at [`call`];
//! configurations add to the list with a [`FunctionSet`].

mod names;

use std::collections::HashSet;

use super::analysis::Verbs;
use super::effects::Effects;
use super::lexer::{Token, TokenKind};
use super::name::{fold_name, fold_token};
use super::verb::Verb;
use names::{EFFECTIVE_TABLE, EFFECTS, SAFE_TABLE};

/// Functions that a configuration vouches for: free of effects, fit for a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionSet(HashSet<Box<[u8]>, foldhash::fast::FixedState>);

impl FunctionSet {
    /// Adds `name` or `schema.name`, folded as the server folds names. False when it is no name.
    ///
    /// Without a schema it means calls that are written without one.
    pub fn insert(&mut self, name: &str) -> bool {
        let folded = fold_name(name.as_bytes());
        let dots = memchr::memchr_iter(b'.', &folded).count();
        let valid = !folded.is_empty() && dots <= 1;
        if valid {
            self.0.insert(folded.into());
        }
        valid
    }

    fn has(&self, sql: &[u8], schema: Option<Token>, name: Token) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let Some(name) = fold_token(sql, name) else {
            return false;
        };
        match schema {
            None => self.0.contains(&name[..]),
            Some(schema) => fold_token(sql, schema)
                .is_some_and(|schema| self.0.contains(&[&schema, &name[..]].join(&b'.')[..])),
        }
    }
}

/// What a call does, as far as its name tells.
pub(super) struct Call {
    pub(super) effects: Effects,
    pub(super) inner: Verbs,
}

/// A call of `name`, with the part before its dot, if any; `parts` counts all of them.
pub(super) fn call(
    sql: &[u8],
    schema: Option<Token>,
    name: Token,
    parts: u32,
    safe: Option<&FunctionSet>,
) -> Call {
    let mut call = Call {
        effects: Effects::NONE,
        inner: Verbs::default(),
    };
    let unreadable = |token: Token| token.kind == TokenKind::UnicodeQuoted;
    if unreadable(name) || schema.is_some_and(unreadable) {
        call.effects = Effects::OPAQUE | Effects::UNSAFE_CALL;
        return call;
    }
    if let Some((start, end)) = plain(sql, name) {
        let qualified_ok = match parts {
            1 => true,
            2 => matches!(
                schema.and_then(|schema| fold_token(sql, schema)).as_deref(),
                Some(b"pg_catalog" | b"information_schema")
            ),
            _ => false,
        };
        if qualified_ok && SAFE_TABLE.find(sql, start, end).is_some() {
            return call;
        }
        call.effects |= effects(sql, start, end);
        let text = sql.get(start..end).unwrap_or_default();
        if text.eq_ignore_ascii_case(b"pg_notify") {
        if TABLE
            .find(sql, start, end)
            .is_some_and(|index| index == NOTIFY)
        {
            call.inner.insert(Verb::Notify);
        }
    }
    let vouched = parts <= 2 && safe.is_some_and(|safe| safe.has(sql, schema, name));
    if !(vouched && call.effects.is_empty()) {
        call.effects |= Effects::UNSAFE_CALL;
    }
    call
}

/// Where the letters of a name are, when it is one that the tables can have: unquoted, or quoted in lower case.
fn plain(sql: &[u8], name: Token) -> Option<(usize, usize)> {
    let range = name.span.range();
    match name.kind {
        TokenKind::Word => Some((range.start, range.end)),
        TokenKind::Quoted => {
            let (start, end) = (range.start + 1, range.end.saturating_sub(1));
            let inner = sql.get(start..end)?;
            let lower = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            inner.iter().all(lower).then_some((start, end))
        }
        _ => None,
    }
}

fn effects(sql: &[u8], start: usize, end: usize) -> Effects {
    if let Some(index) = EFFECTIVE_TABLE.find(sql, start, end) {
        return EFFECTS
            .get(index)
            .map_or(Effects::OPAQUE, |(_, effects)| *effects);
    }
    let text = sql.get(start..end).unwrap_or_default();
    let family = |prefix: &[u8]| {
        text.get(..prefix.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(prefix))
    };
    if family(b"dblink") {
        return Effects::OPAQUE;
    }
    Effects::NONE
}

/// Names with effects, in one list with them.
macro_rules! effective {
    ($($name:literal $effect:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];
        const EFFECTS: &[Effects] = &[$(Effects::$effect),*];
    };
}

/// The index of `pg_notify` below.
const NOTIFY: usize = 0;

effective! {
    "pg_notify" UNSAFE_CALL,
    "set_config" SET_CONFIG_CALL,
    "pg_advisory_lock" ADVISORY_LOCK, "pg_advisory_lock_shared" ADVISORY_LOCK,
    "pg_try_advisory_lock" ADVISORY_LOCK, "pg_try_advisory_lock_shared" ADVISORY_LOCK,
    "pg_advisory_unlock" ADVISORY_UNLOCK, "pg_advisory_unlock_shared" ADVISORY_UNLOCK,
    "pg_advisory_unlock_all" ADVISORY_UNLOCK_ALL,
    "nextval" SEQUENCE_STATE, "setval" SEQUENCE_STATE, "currval" SEQUENCE_STATE, "lastval" SEQUENCE_STATE,
    "pg_replication_origin_session_setup" REPLICATION, "pg_replication_origin_session_reset" REPLICATION,
    "pg_replication_origin_xact_setup" REPLICATION,
    "pg_create_logical_replication_slot" REPLICATION, "pg_create_physical_replication_slot" REPLICATION,
    "pg_copy_logical_replication_slot" REPLICATION, "pg_copy_physical_replication_slot" REPLICATION,
    // They run SQL that comes as a text.
    "query_to_xml" OPAQUE, "query_to_xmlschema" OPAQUE, "query_to_xml_and_xmlschema" OPAQUE,
    "cursor_to_xml" OPAQUE, "ts_stat" OPAQUE, "ts_rewrite" OPAQUE, "crosstab" OPAQUE, "crosstabn" OPAQUE,
    "crosstab2" OPAQUE, "crosstab3" OPAQUE, "crosstab4" OPAQUE, "connectby" OPAQUE, "xpath_table" OPAQUE,
}

static TABLE: WordTable<256> = WordTable::new(NAMES);

/// Built-in functions without effects: immutable, stable, or volatile in their result only. What runs SQL given as a
/// text, waits, locks, signals, reads files, or answers differently on a standby is left out.
const SAFE: &[&str] = &[
    // Aggregates and windows.
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "bool_and",
    "bool_or",
    "every",
    "bit_and",
    "bit_or",
    "bit_xor",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "xmlagg",
    "range_agg",
    "range_intersect_agg",
    "any_value",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "var_pop",
    "var_samp",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "row_number",
    "ntile",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    // Numbers.
    "abs",
    "cbrt",
    "ceil",
    "ceiling",
    "degrees",
    "div",
    "exp",
    "factorial",
    "floor",
    "gcd",
    "lcm",
    "ln",
    "log",
    "log10",
    "min_scale",
    "mod",
    "pi",
    "power",
    "pow",
    "radians",
    "round",
    "scale",
    "sign",
    "sqrt",
    "trim_scale",
    "trunc",
    "width_bucket",
    "acos",
    "acosd",
    "asin",
    "asind",
    "atan",
    "atand",
    "atan2",
    "atan2d",
    "cos",
    "cosd",
    "cot",
    "cotd",
    "sin",
    "sind",
    "tan",
    "tand",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "random",
    "erf",
    "erfc",
    "int2",
    "int4",
    "int8",
    "float4",
    "float8",
    "to_number",
    // Text and bytes.
    "ascii",
    "bit_length",
    "btrim",
    "char_length",
    "character_length",
    "chr",
    "concat",
    "concat_ws",
    "format",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "parse_ident",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "string_to_array",
    "string_to_table",
    "strpos",
    "substr",
    "textlen",
    "to_ascii",
    "to_hex",
    "to_bin",
    "to_oct",
    "translate",
    "unistr",
    "upper",
    "casefold",
    "convert",
    "convert_from",
    "convert_to",
    "decode",
    "encode",
    "get_bit",
    "get_byte",
    "set_bit",
    "set_byte",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "crc32",
    "crc32c",
    "bit_count",
    "unicode_version",
    "icu_unicode_version",
    "unicode_assigned",
    "like",
    "notlike",
    "ilike",
    "text",
    "bpchar",
    "name",
    "pg_client_encoding",
    // Dates and times.
    "age",
    "clock_timestamp",
    "date",
    "date_add",
    "date_bin",
    "date_part",
    "date_subtract",
    "date_trunc",
    "isfinite",
    "justify_days",
    "justify_hours",
    "justify_interval",
    "make_date",
    "make_interval",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "now",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "to_char",
    "to_date",
    "to_timestamp",
    "timestamptz",
    "timetz",
    "timezone",
    "overlaps",
    // Arrays, ranges, rows.
    "array_append",
    "array_cat",
    "array_dims",
    "array_fill",
    "array_length",
    "array_lower",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
    "array_sample",
    "array_shuffle",
    "array_sort",
    "array_reverse",
    "array_to_string",
    "array_upper",
    "cardinality",
    "trim_array",
    "unnest",
    "generate_series",
    "generate_subscripts",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "isempty",
    "lower_inc",
    "lower_inf",
    "upper_inc",
    "upper_inf",
    "range_merge",
    "multirange",
    "num_nonnulls",
    "num_nulls",
    "row_to_json",
    // JSON.
    "to_json",
    "to_jsonb",
    "array_to_json",
    "json_build_array",
    "jsonb_build_array",
    "json_build_object",
    "jsonb_build_object",
    "json_object",
    "jsonb_object",
    "json_array_elements",
    "jsonb_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements_text",
    "json_array_length",
    "jsonb_array_length",
    "json_each",
    "jsonb_each",
    "json_each_text",
    "jsonb_each_text",
    "json_extract_path",
    "jsonb_extract_path",
    "json_extract_path_text",
    "jsonb_extract_path_text",
    "json_object_keys",
    "jsonb_object_keys",
    "json_populate_record",
    "jsonb_populate_record",
    "json_populate_recordset",
    "jsonb_populate_recordset",
    "json_to_record",
    "jsonb_to_record",
    "json_to_recordset",
    "jsonb_to_recordset",
    "jsonb_set",
    "jsonb_set_lax",
    "jsonb_insert",
    "json_strip_nulls",
    "jsonb_strip_nulls",
    "jsonb_path_exists",
    "jsonb_path_match",
    "jsonb_path_query",
    "jsonb_path_query_array",
    "jsonb_path_query_first",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_pretty",
    "json_typeof",
    "jsonb_typeof",
    "jsonb_exists",
    "jsonb_exists_any",
    "jsonb_exists_all",
    "jsonb_contains",
    "jsonb_contained",
    // Text search, networks, identifiers, enums, geometry, XML.
    "to_tsvector",
    "to_tsquery",
    "plainto_tsquery",
    "phraseto_tsquery",
    "websearch_to_tsquery",
    "ts_rank",
    "ts_rank_cd",
    "ts_headline",
    "ts_delete",
    "ts_filter",
    "setweight",
    "strip",
    "numnode",
    "querytree",
    "tsvector_to_array",
    "array_to_tsvector",
    "tsquery_phrase",
    "abbrev",
    "broadcast",
    "family",
    "host",
    "hostmask",
    "inet_merge",
    "inet_same_family",
    "masklen",
    "netmask",
    "network",
    "set_masklen",
    "macaddr8_set7bit",
    "gen_random_uuid",
    "uuidv4",
    "uuidv7",
    "uuid_extract_timestamp",
    "uuid_extract_version",
    "enum_first",
    "enum_last",
    "enum_range",
    "area",
    "center",
    "diagonal",
    "diameter",
    "height",
    "isclosed",
    "isopen",
    "npoints",
    "pclose",
    "popen",
    "radius",
    "slope",
    "width",
    "box",
    "circle",
    "line",
    "lseg",
    "path",
    "point",
    "polygon",
    "bound_box",
    "xmlcomment",
    "xpath",
    "xpath_exists",
    "xml_is_well_formed",
    "xml_is_well_formed_content",
    "xml_is_well_formed_document",
    // The session and the catalog, where every server answers alike.
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "version",
    "col_description",
    "obj_description",
    "shobj_description",
    "format_type",
    "pg_describe_object",
    "pg_identify_object",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_functiondef",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_function_arg_default",
    "pg_get_function_sqlbody",
    "pg_get_indexdef",
    "pg_get_keywords",
    "pg_get_partkeydef",
    "pg_get_partition_constraintdef",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef",
    "pg_get_statisticsobjdef_columns",
    "pg_get_triggerdef",
    "pg_get_userbyid",
    "pg_get_viewdef",
    "pg_index_column_has_property",
    "pg_index_has_property",
    "pg_indexam_has_property",
    "pg_options_to_table",
    "pg_tablespace_location",
    "pg_typeof",
    "to_regclass",
    "to_regcollation",
    "to_regnamespace",
    "to_regoper",
    "to_regoperator",
    "to_regproc",
    "to_regprocedure",
    "to_regrole",
    "to_regtype",
    "pg_encoding_to_char",
    "pg_char_to_encoding",
    "pg_size_pretty",
    "pg_size_bytes",
    "pg_column_size",
    "pg_table_is_visible",
    "pg_type_is_visible",
    "pg_function_is_visible",
    "pg_operator_is_visible",
    "pg_opclass_is_visible",
    "pg_opfamily_is_visible",
    "pg_conversion_is_visible",
    "pg_collation_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_foreign_data_wrapper_privilege",
    "has_function_privilege",
    "has_language_privilege",
    "has_parameter_privilege",
    "has_schema_privilege",
    "has_sequence_privilege",
    "has_server_privilege",
    "has_table_privilege",
    "has_tablespace_privilege",
    "has_type_privilege",
    "pg_has_role",
    "row_security_active",
    "aclexplode",
    "acldefault",
    "makeaclitem",
    "array_in",
    "regclass",
    "pg_partition_tree",
    "pg_partition_ancestors",
    "pg_partition_root",
    "pg_relation_is_publishable",
    "pg_get_publication_tables",
    "pg_sequence_parameters",
    "pg_column_is_updatable",
    "pg_relation_is_updatable",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
    "pg_indexes_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_relation_filenode",
    "pg_relation_filepath",
    "pg_collation_for",
    "_pg_char_max_length",
    "_pg_truetypid",
    "_pg_truetypmod",
    "_pg_expandarray",
];

static SAFE_TABLE: WordTable<2048> = WordTable::new(SAFE);
