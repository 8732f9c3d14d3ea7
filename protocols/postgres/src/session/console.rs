//! The administrators' console: a database without a server, which understands PgBouncer's commands.
//!
//! What commands there are, who may give them and how tables look is [`crate::console`]'s; here they are answered from the
//! pools of the listener. Start at [`run`].

mod peers;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use portcullis_net::{Downstream, Stream, Timer, clock};

use super::cancel::Who;
use super::pools::{PoolHandle, close};
use super::server::PostgresServer;
use super::startup::read_more;
use crate::console::{
    Command, ConfigRow, DatabaseRow, ListRow, PoolRow, Privilege, Show, StateRow, StatementRow,
    StatsAveragesRow, StatsRow, StatsTotalsRow, TotalsRow, UserRow, VersionRow, write_done,
    write_help, write_rows,
};
use crate::encoder;
use crate::frame::{Frame, FrameScanner, Side, frontend};
use crate::limits::FrameLimits;
use crate::machine::Opening;
use crate::message::backend::TransactionStatus;
use crate::pool::PoolState;
use crate::reject::ErrorReply;
use crate::sqlstate::SqlState;
use crate::stats::Order;

/// One administrator.
struct Console<'a> {
    server: &'a Rc<PostgresServer>,
    privilege: Privilege,
}

/// Serves an administrator until it leaves.
pub(super) async fn run(
    server: &Rc<PostgresServer>,
    downstream: Downstream,
    opening: &Opening,
    mut timer: Timer,
) {
    let who = Who::of(&downstream, opening);
    let Downstream {
        mut stream,
        mut prefix,
        guard,
        ..
    } = downstream;
    let Some(privilege) = Privilege::of(&opening.user, &server.config.console) else {
        server.stats.on_rejected("console_denied");
        let text = "not allowed";
        let message = encoder::fatal_message(SqlState::INSUFFICIENT_PRIVILEGE, text);
        return super::goodbye(stream, &message, &mut timer).await;
    };
    let console = Console { server, privilege };
    // It is a client like others, though nothing of it can be cancelled.
    let listed = server
        .common
        .cancel
        .register(None, false, who, &mut super::secret);
    let mut output = BytesMut::new();
    for (name, value) in [
        ("server_version", "1.22.0/portcullis"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("TimeZone", "UTC"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
    ] {
        encoder::parameter_status(name.as_bytes(), value.as_bytes(), &mut output);
    }
    encoder::ready_for_query(TransactionStatus::Idle, &mut output);
    let _ = console
        .converse(&mut stream, &mut prefix, &mut timer, output)
        .await;
    drop((guard, listed));
}

impl Console<'_> {
    async fn converse(
        &self,
        stream: &mut Stream,
        input: &mut BytesMut,
        timer: &mut Timer,
        mut output: BytesMut,
    ) -> std::io::Result<()> {
        let mut scanner = FrameScanner::new(Side::Frontend, FrameLimits::default());
        let mut draining = self.server.drain.listen();
        loop {
            stream.write_all(&output).await?;
            output.clear();
            let (tag, body) = loop {
                match scanner.next(input) {
                    Ok(Some(Frame::Whole { tag, len })) => {
                        let mut message = input.split_to(len.min(input.len()));
                        break (tag, message.split_off(5.min(message.len())));
                    }
                    Ok(None) => {}
                    Ok(Some(_)) | Err(_) => return Ok(()),
                }
                let ended = {
                    let mut reading =
                        std::pin::pin!(read_more(stream, input, timer, None, "startup"));
                    poll_fn(|task| {
                        if draining.poll_draining(task).is_ready() {
                            return std::task::Poll::Ready(true);
                        }
                        reading.as_mut().poll(task).map(|reason| reason.is_some())
                    })
                    .await
                };
                if ended {
                    return Ok(());
                }
            };
            match tag {
                frontend::QUERY => {
                    self.on_query(body.strip_suffix(&[0]).unwrap_or(&body), &mut output)
                        .await;
                    encoder::ready_for_query(TransactionStatus::Idle, &mut output);
                }
                frontend::TERMINATE => return Ok(()),
                frontend::SYNC => encoder::ready_for_query(TransactionStatus::Idle, &mut output),
                frontend::FLUSH => {}
                _ => {
                    let text = "the console understands simple queries only";
                    let message = encoder::error_message(SqlState::FEATURE_NOT_SUPPORTED, text);
                    output.extend_from_slice(&message);
                }
            }
        }
    }

    async fn on_query(&self, text: &[u8], output: &mut BytesMut) {
        let answered = match Command::parse(text) {
            Ok(None) => {
                encoder::empty_query_response(output);
                return;
            }
            Ok(Some(command)) => match self.privilege.permits(&command) {
                Ok(()) => self.carry_out(&command, output).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error.reply()),
        };
        if let Err(error) = answered {
            self.server.stats.on_rejected(error.reason);
            output.extend_from_slice(&super::error_message(&error));
        }
    }

    async fn carry_out(&self, command: &Command, output: &mut BytesMut) -> Result<(), ErrorReply> {
        let now = clock::now();
        match command {
            Command::Show(show) => {
                self.show(*show, output);
                return Ok(());
            }
            Command::Pause(database) => {
                let pools = self.pools(database.as_deref());
                for pool in &pools {
                    close(pool.pool().pause(now));
                }
                for pool in &pools {
                    poll_fn(|task| pool.pool().poll_quiet(task)).await;
                }
            }
            Command::Resume(database) => {
                for pool in self.pools(database.as_deref()) {
                    pool.pool().resume(now);
                }
            }
            Command::Reconnect(database) => {
                for pool in self.pools(database.as_deref()) {
                    close(pool.pool().reconnect(now));
                    pool.forget_welcomes();
                }
            }
            Command::Kill(database) => {
                for pool in self.pools(Some(database)) {
                    pool.kill();
                }
                self.server.common.cancel.wake_attached();
            }
            Command::Reload => self.reload().await?,
        }
        write_done(command.tag(), output);
        Ok(())
    }

    /// The pools of a database, or all.
    fn pools(&self, database: Option<&str>) -> Vec<PoolHandle> {
        let mut pools = self.server.common.pools.all();
        pools.retain(|pool| database.is_none_or(|database| &*pool.key().database == database));
        pools.sort_by(|one, other| {
            let key = |pool: &PoolHandle| {
                (
                    Arc::clone(&pool.key().database),
                    Arc::clone(&pool.key().user),
                )
            };
            key(one).cmp(&key(other))
        });
        pools
    }

    fn show(&self, show: Show, output: &mut BytesMut) {
        match show {
            Show::Help => {
                write_help(output);
            }
            Show::Version => write_rows(
                &[VersionRow {
                    version: concat!("portcullis ", env!("CARGO_PKG_VERSION")).to_owned(),
                }],
                output,
            ),
            Show::Pools => write_rows(&self.pool_rows(), output),
            Show::Databases => write_rows(&self.database_rows(), output),
            Show::Users => write_rows(&self.user_rows(), output),
            Show::Lists => write_rows(&self.list_rows(), output),
            Show::Config => write_rows(&self.config_rows(), output),
            Show::State => write_rows(&self.state_rows(), output),
            Show::Stats => write_rows(&self.stats_rows(), output),
            Show::StatsTotals => {
                let rows: Vec<StatsTotalsRow> = self.stats_rows().iter().map(Into::into).collect();
                write_rows(&rows, output);
            }
            Show::StatsAverages => {
                let rows: Vec<StatsAveragesRow> =
                    self.stats_rows().iter().map(Into::into).collect();
                write_rows(&rows, output);
            }
            Show::Totals => write_rows(&TotalsRow::of(&self.stats_rows()), output),
            Show::Statements => {
                let mut statements = self.server.tables.0.statements();
                Order::Time.apply(&mut statements, 100);
                let rows: Vec<StatementRow> = statements.iter().map(Into::into).collect();
                write_rows(&rows, output);
            }
            Show::Clients => write_rows(&peers::clients(&self.server.common), output),
            Show::Servers => write_rows(&peers::servers(&self.server.common), output),
        }
    }

    /// What a POST to the admin address's `/reload` does.
    async fn reload(&self) -> Result<(), ErrorReply> {
        let Some(reload) = &self.server.reload else {
            return Err(ErrorReply::new(
                "console_unsupported",
                SqlState::FEATURE_NOT_SUPPORTED,
                "this process does not read its configuration again",
            ));
        };
        reload.reload().await.map_err(|why| {
            let text = "the configuration is refused, and the one before goes on";
            ErrorReply::new("reload_refused", SqlState::CONFIG_FILE_ERROR, text).hint(why)
        })
    }

    fn pool_rows(&self) -> Vec<PoolRow> {
        let now = clock::now();
        let row = |pool: &PoolHandle| {
            let snapshot = pool.pool().snapshot(now);
            PoolRow {
                database: Arc::clone(&pool.key().database),
                user: Arc::clone(&pool.key().user),
                clients_active: u64::from(snapshot.active),
                clients_waiting: snapshot.waiting as u64,
                servers_active: u64::from(snapshot.active),
                servers_idle: u64::from(snapshot.idle),
                servers_used: u64::from(snapshot.used),
                servers_login: u64::from(snapshot.opening),
                max_wait: snapshot.max_wait.as_secs(),
                max_wait_us: u64::from(snapshot.max_wait.subsec_micros()),
                mode: self.server.config.pool.mode.label(),
                ..PoolRow::default()
            }
        };
        self.pools(None).iter().map(row).collect()
    }

    fn database_rows(&self) -> Vec<DatabaseRow> {
        let now = clock::now();
        let mut rows: BTreeMap<Arc<str>, DatabaseRow> = BTreeMap::new();
        for pool in self.pools(None) {
            let snapshot = pool.pool().snapshot(now);
            let limits = pool.pool().limits();
            let database = &pool.key().database;
            let open =
                u64::from(snapshot.active + snapshot.idle + snapshot.used + snapshot.opening);
            let row = rows
                .entry(Arc::clone(database))
                .or_insert_with(|| DatabaseRow {
                    name: Arc::clone(database),
                    host: Some(pool.endpoint().label().to_string()),
                    database: Arc::clone(database),
                    pool_size: limits.size,
                    min_pool_size: limits.min,
                    reserve_pool: limits.reserve,
                    pool_mode: self.server.config.pool.mode.label(),
                    ..DatabaseRow::default()
                });
            row.current_connections += open;
            row.paused |= snapshot.state == PoolState::Paused;
        }
        rows.into_values().collect()
    }

    fn user_rows(&self) -> Vec<UserRow> {
        let users = self.server.config.auth.users.iter();
        let row = |(name, user): (&String, &crate::config::UserConfig)| UserRow {
            name: name.as_str().into(),
            pool_size: user.pool_size.as_ref().map(|size| size.value),
            pool_mode: None,
        };
        users.map(row).collect()
    }

    fn list_rows(&self) -> Vec<ListRow> {
        let pools = self.pool_rows();
        let sum = |value: fn(&PoolRow) -> u64| pools.iter().map(value).sum();
        let row = |list, items| ListRow { list, items };
        vec![
            row("databases", self.database_rows().len() as u64),
            row("users", self.server.config.auth.users.len() as u64),
            row("pools", pools.len() as u64),
            row("free_clients", 0),
            row(
                "used_clients",
                sum(|pool| pool.clients_active + pool.clients_waiting),
            ),
            row("login_clients", 0),
            row(
                "free_servers",
                sum(|pool| pool.servers_idle + pool.servers_used),
            ),
            row("used_servers", sum(|pool| pool.servers_active)),
            row("dns_names", 0),
            row("dns_zones", 0),
            row("dns_queries", 0),
            row("dns_pending", 0),
        ]
    }

    fn config_rows(&self) -> Vec<ConfigRow> {
        let config = &self.server.config;
        let row = |key, value: String| ConfigRow {
            key,
            value: Some(value),
            default: None,
            changeable: "yes",
        };
        vec![
            row("pool_mode", config.pool.mode.label().to_owned()),
            row("default_pool_size", config.pool.size.to_string()),
            row("min_pool_size", config.pool.min.to_string()),
            row("reserve_pool_size", config.pool.reserve.to_string()),
            row(
                "max_prepared_statements",
                config.pool.prepared_statements.to_string(),
            ),
            row(
                "query_wait_timeout",
                config.pool.wait_timeout.get().as_secs().to_string(),
            ),
            row("auth_type", config.auth.method.label().to_owned()),
        ]
    }

    fn state_rows(&self) -> Vec<StateRow> {
        let pools = self.pools(None);
        let paused = !pools.is_empty()
            && pools
                .iter()
                .all(|pool| pool.pool().state() == PoolState::Paused);
        let word = |is| if is { "yes" } else { "no" };
        let row = |key, value| StateRow { key, value };
        vec![
            row("active", word(!paused)),
            row("paused", word(paused)),
            row("suspended", "no"),
        ]
    }

    fn stats_rows(&self) -> Vec<StatsRow> {
        let now = clock::now();
        let mut rows: BTreeMap<Arc<str>, StatsRow> = BTreeMap::new();
        for pool in self.pools(None) {
            let snapshot = pool.pool().snapshot(now);
            let served = pool.served();
            let database = &pool.key().database;
            let row = rows
                .entry(Arc::clone(database))
                .or_insert_with(|| StatsRow {
                    database: Arc::clone(database),
                    ..StatsRow::default()
                });
            row.transactions += served.transactions;
            row.queries += served.queries;
            row.received += served.received;
            row.sent += served.sent;
            row.transaction_time += served.transaction_micros;
            row.query_time += served.query_micros;
            row.wait_time +=
                u64::try_from(snapshot.totals.wait_time.as_micros()).unwrap_or(u64::MAX);
        }
        rows.into_values().collect()
    }
}
