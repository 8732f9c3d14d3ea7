//! A primary with a streaming replica: reads and writes apart, and a failover.

use harness::Gateway;
use harness::postgres::Postgres;

use super::document;
use super::pooling::connect;

const KEYS: &str = "\
pool: { mode: transaction, size: 4 }
routes:
  - { name: reads, match: { statement: read }, cluster: main, role: prefer_replica }
  - { name: writes, cluster: main, role: primary }";

fn recovering(client: &mut postgres::Client) -> bool {
    client
        .query_one("SELECT pg_is_in_recovery()", &[])
        .unwrap()
        .get(0)
}

#[test]
fn reads_go_to_the_replica_and_writes_follow_the_primary() {
    let Some(mut primary) = Postgres::start() else {
        return;
    };
    let replica = primary.replica();
    let cluster = format!(
        "endpoints: [\"{}\", \"{}\"]",
        primary.address(),
        replica.address()
    );
    let keys = format!("{KEYS}\nsafe_functions: [pg_is_in_recovery]");
    let gateway = Gateway::start(&document(&keys, &cluster));
    let mut client = connect(gateway.addr("db"));
    // Roles are found within a second of the start.
    while !recovering(&mut client) {}
    client.batch_execute("CREATE TABLE t (a int)").unwrap();
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    client.batch_execute("BEGIN").unwrap();
    assert!(
        !recovering(&mut client),
        "a transaction stays where it began"
    );
    client.batch_execute("COMMIT").unwrap();
    assert!(recovering(&mut client));

    primary.kill();
    replica.promote();
    // Writes find the new primary, once it is known as one.
    let mut writer = connect(gateway.addr("db"));
    while writer.batch_execute("INSERT INTO t VALUES (2)").is_err() {
        writer = loop {
            let mut config = postgres::Config::new();
            let address = gateway.addr("db");
            config
                .host(&address.ip().to_string())
                .port(address.port())
                .user("postgres");
            if let Ok(client) = config.dbname("postgres").connect(postgres::NoTls) {
                break client;
            }
        };
    }
    assert_eq!(replica.sql("SELECT count(*) FROM t"), "2");
}
