//! The rows of every result, with PgBouncer's names for the columns.
//!
//! Whoever makes a row fills in what it knows: all of them have defaults. Start at [`PoolRow`].

use std::sync::Arc;

use super::table::{Cell, Column, Kind, Row, Timestamp, Value};

/// A row and its columns in one list, so that neither can be without the other.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $kind:ident $column:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Row for $name {
            const COLUMNS: &'static [Column] =
                &[$(Column { name: $column, kind: Kind::$kind }),*];

            fn cells(&self) -> Vec<Cell<'_>> {
                vec![$(self.$field.cell()),*]
            }
        }
    };
}

row! {
    /// `SHOW POOLS`: a pool.
    PoolRow {
        /// The database as clients name it.
        database: Arc<str> = Text "database",
        /// The user that servers see.
        user: Arc<str> = Text "user",
        /// Clients with a server connection, or idle.
        clients_active: u64 = Int4 "cl_active",
        /// Clients that wait for one.
        clients_waiting: u64 = Int4 "cl_waiting",
        /// Cancel requests on their way.
        cancels_active: u64 = Int4 "cl_active_cancel_req",
        /// Cancel requests that wait.
        cancels_waiting: u64 = Int4 "cl_waiting_cancel_req",
        /// Server connections that clients have.
        servers_active: u64 = Int4 "sv_active",
        /// Server connections that carry a cancel request.
        servers_cancelling: u64 = Int4 "sv_active_cancel",
        /// Server connections that wait for a cancel request to be over.
        servers_being_cancelled: u64 = Int4 "sv_being_canceled",
        /// Server connections that are idle.
        servers_idle: u64 = Int4 "sv_idle",
        /// Those that are idle for so long that they are checked before they are used.
        servers_used: u64 = Int4 "sv_used",
        /// Those that are being checked or reset.
        servers_tested: u64 = Int4 "sv_tested",
        /// Those that are being opened.
        servers_login: u64 = Int4 "sv_login",
        /// How long the first waiting client has waited: seconds.
        max_wait: u64 = Int4 "maxwait",
        /// And microseconds.
        max_wait_us: u64 = Int4 "maxwait_us",
        /// `session`, `transaction` or `statement`.
        mode: &'static str = Text "pool_mode",
    }
}

/// Clients and servers have the same columns.
macro_rules! peer_row {
    ($(#[$doc:meta])* $name:ident) => {
        row! {
            $(#[$doc])*
            $name {
                /// `C` or `S`.
                kind: &'static str = Text "type",
                /// The user: a client's own, or the one that the server sees.
                user: Arc<str> = Text "user",
                /// The database as the client or the server knows it.
                database: Arc<str> = Text "database",
                /// What it does: `active`, `idle`, `waiting`, `used`, `login`, …
                state: &'static str = Text "state",
                /// Its address; `unix` for a Unix socket.
                address: String = Text "addr",
                /// Its port.
                port: u32 = Int4 "port",
                /// The address at this end.
                local_address: String = Text "local_addr",
                /// The port at this end.
                local_port: u32 = Int4 "local_port",
                /// When it connected.
                connected: Timestamp = Text "connect_time",
                /// When the last request came, or went.
                requested: Timestamp = Text "request_time",
                /// How long it waits: seconds.
                wait: u64 = Int4 "wait",
                /// And microseconds.
                wait_us: u64 = Int4 "wait_us",
                /// Whether it is closed when it comes back.
                close_needed: bool = Int4 "close_needed",
                /// What it is known by here: a number, written as an address.
                id: String = Text "ptr",
                /// What the other side of a pair is known by; empty for none.
                link: String = Text "link",
                /// The process id that a server gave.
                remote_pid: u64 = Int4 "remote_pid",
                /// Version and cipher of TLS; empty without.
                tls: String = Text "tls",
                /// `application_name`.
                application: Arc<str> = Text "application_name",
                /// Prepared statements that it has.
                prepared_statements: u64 = Int4 "prepared_statements",
            }
        }
    };
}

peer_row! {
    /// `SHOW CLIENTS`: a client.
    ClientRow
}
peer_row! {
    /// `SHOW SERVERS`: a server connection.
    ServerRow
}

row! {
    /// `SHOW DATABASES`: a database that clients can name.
    DatabaseRow {
        /// As clients name it.
        name: Arc<str> = Text "name",
        /// The endpoint; empty where there are several.
        host: Option<String> = Text "host",
        /// Its port.
        port: u32 = Int4 "port",
        /// Its name there.
        database: Arc<str> = Text "database",
        /// The user that servers see, where all clients share one.
        force_user: Option<Arc<str>> = Text "force_user",
        /// Connections of a pool.
        pool_size: u32 = Int4 "pool_size",
        /// Connections that are kept.
        min_pool_size: u32 = Int4 "min_pool_size",
        /// Connections beyond `pool_size`.
        reserve_pool: u32 = Int4 "reserve_pool",
        /// The mode.
        pool_mode: &'static str = Text "pool_mode",
        /// How many server connections there may be; 0: as many as pools have.
        max_connections: u64 = Int4 "max_connections",
        /// How many there are.
        current_connections: u64 = Int4 "current_connections",
        /// Whether it is paused.
        paused: bool = Int4 "paused",
        /// Always false: see `deny`.
        disabled: bool = Int4 "disabled",
    }
}

row! {
    /// `SHOW USERS`: a user of the configuration.
    UserRow {
        /// The name.
        name: Arc<str> = Text "name",
        /// Its own size of pools.
        pool_size: Option<u32> = Int4 "pool_size",
        /// Its own mode: there are none.
        pool_mode: Option<&'static str> = Text "pool_mode",
    }
}

row! {
    /// `SHOW LISTS`: how many there are of something.
    ListRow {
        /// Of what: `databases`, `users`, `pools`, `free_clients`, `used_clients`, `login_clients`, `free_servers`,
        /// `used_servers`, `dns_names`, `dns_zones`, `dns_queries`, `dns_pending`.
        list: &'static str = Text "list",
        /// How many.
        items: u64 = Int4 "items",
    }
}

row! {
    /// `SHOW CONFIG`: a setting.
    ConfigRow {
        /// Its key.
        key: &'static str = Text "key",
        /// Its value.
        value: Option<String> = Text "value",
        /// Its default.
        default: Option<String> = Text "default",
        /// `yes` or `no`: whether a reload changes it.
        changeable: &'static str = Text "changeable",
    }
}

row! {
    /// `SHOW STATE`: a state of the process.
    StateRow {
        /// `active`, `paused` or `suspended`.
        key: &'static str = Text "key",
        /// `yes` or `no`.
        value: &'static str = Text "value",
    }
}

row! {
    /// `SHOW VERSION`: one row.
    VersionRow {
        /// The name and version of this program.
        version: String = Text "version",
    }
}

row! {
    /// `SHOW STATS`: what happened to a database, in all and for each second of the last period. Times in microseconds.
    StatsRow {
        /// The database as clients name it.
        database: Arc<str> = Text "database",
        /// Transactions.
        transactions: u64 = Numeric "total_xact_count",
        /// Statements.
        queries: u64 = Numeric "total_query_count",
        /// Bytes from clients.
        received: u64 = Numeric "total_received",
        /// Bytes to clients.
        sent: u64 = Numeric "total_sent",
        /// Time in transactions.
        transaction_time: u64 = Numeric "total_xact_time",
        /// Time in statements.
        query_time: u64 = Numeric "total_query_time",
        /// Time that clients waited for server connections.
        wait_time: u64 = Numeric "total_wait_time",
        /// Transactions a second.
        average_transactions: u64 = Numeric "avg_xact_count",
        /// Statements a second.
        average_queries: u64 = Numeric "avg_query_count",
        /// Bytes a second from clients.
        average_received: u64 = Numeric "avg_recv",
        /// Bytes a second to clients.
        average_sent: u64 = Numeric "avg_sent",
        /// A transaction's time.
        average_transaction_time: u64 = Numeric "avg_xact_time",
        /// A statement's time.
        average_query_time: u64 = Numeric "avg_query_time",
        /// A wait.
        average_wait_time: u64 = Numeric "avg_wait_time",
    }
}

row! {
    /// `SHOW STATS_TOTALS`: the sums of [`StatsRow`].
    StatsTotalsRow {
        /// The database as clients name it.
        database: Arc<str> = Text "database",
        /// Transactions.
        transactions: u64 = Numeric "xact_count",
        /// Statements.
        queries: u64 = Numeric "query_count",
        /// Bytes from clients.
        received: u64 = Numeric "bytes_received",
        /// Bytes to clients.
        sent: u64 = Numeric "bytes_sent",
        /// Time in transactions.
        transaction_time: u64 = Numeric "xact_time",
        /// Time in statements.
        query_time: u64 = Numeric "query_time",
        /// Time that clients waited for server connections.
        wait_time: u64 = Numeric "wait_time",
    }
}

row! {
    /// `SHOW STATS_AVERAGES`: the averages of [`StatsRow`].
    StatsAveragesRow {
        /// The database as clients name it.
        database: Arc<str> = Text "database",
        /// Transactions a second.
        transactions: u64 = Numeric "xact_count",
        /// Statements a second.
        queries: u64 = Numeric "query_count",
        /// Bytes a second from clients.
        received: u64 = Numeric "bytes_received",
        /// Bytes a second to clients.
        sent: u64 = Numeric "bytes_sent",
        /// A transaction's time.
        transaction_time: u64 = Numeric "xact_time",
        /// A statement's time.
        query_time: u64 = Numeric "query_time",
        /// A wait.
        wait_time: u64 = Numeric "wait_time",
    }
}

row! {
    /// `SHOW TOTALS`: one number of all databases together.
    TotalsRow {
        /// Its name, as a column of `SHOW STATS`.
        name: &'static str = Text "name",
        /// The number.
        value: u64 = Numeric "value",
    }
}

row! {
    /// `SHOW STATEMENTS`: a statement without its values. PgBouncer has no such command.
    StatementRow {
        /// Its fingerprint.
        fingerprint: String = Text "fingerprint",
        /// Its text.
        statement: Arc<str> = Text "statement",
        /// How many times it was carried out.
        calls: u64 = Int8 "calls",
        /// How many of them servers answered with an error.
        errors: u64 = Int8 "errors",
        /// How many of them the gateway refused.
        rejected: u64 = Int8 "rejected",
        /// Rows.
        rows: u64 = Int8 "rows",
        /// Bytes to clients.
        sent: u64 = Int8 "bytes_sent",
        /// Time in all, in microseconds.
        total_time: u64 = Int8 "total_time",
        /// The median.
        p50: u64 = Int8 "p50",
        /// The 99th percentile.
        p99: u64 = Int8 "p99",
        /// When it began last.
        last_seen: Timestamp = Text "last_seen",
    }
}

impl From<&StatsRow> for StatsTotalsRow {
    fn from(stats: &StatsRow) -> Self {
        Self {
            database: Arc::clone(&stats.database),
            transactions: stats.transactions,
            queries: stats.queries,
            received: stats.received,
            sent: stats.sent,
            transaction_time: stats.transaction_time,
            query_time: stats.query_time,
            wait_time: stats.wait_time,
        }
    }
}

impl From<&StatsRow> for StatsAveragesRow {
    fn from(stats: &StatsRow) -> Self {
        Self {
            database: Arc::clone(&stats.database),
            transactions: stats.average_transactions,
            queries: stats.average_queries,
            received: stats.average_received,
            sent: stats.average_sent,
            transaction_time: stats.average_transaction_time,
            query_time: stats.average_query_time,
            wait_time: stats.average_wait_time,
        }
    }
}

impl TotalsRow {
    /// Every number of `SHOW STATS`, added up over the databases.
    #[must_use]
    pub fn of(stats: &[StatsRow]) -> Vec<Self> {
        let columns = StatsRow::COLUMNS.iter().enumerate().skip(1);
        columns
            .map(|(place, column)| {
                let number = |row: &StatsRow| match row.cells().get(place) {
                    Some(Cell::Number(number)) => *number,
                    _ => 0,
                };
                Self {
                    name: column.name,
                    value: stats.iter().map(number).fold(0, u64::saturating_add),
                }
            })
            .collect()
    }
}

impl From<&crate::stats::StatementStats> for StatementRow {
    fn from(statement: &crate::stats::StatementStats) -> Self {
        Self {
            fingerprint: statement.fingerprint.to_string(),
            statement: Arc::clone(&statement.text),
            calls: statement.calls,
            errors: statement.errors,
            rejected: statement.rejected,
            rows: statement.rows,
            sent: statement.bytes_down,
            total_time: statement.times.sum(),
            p50: statement.times.percentile(50),
            p99: statement.times.percentile(99),
            last_seen: Timestamp(statement.last_seen),
        }
    }
}
