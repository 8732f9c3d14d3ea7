//! Certificates that change while the gateway runs (tests/ATTACKS.md F4 and F5).

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{fs, thread};

use harness::tls::{Authority, Issued, Order};
use harness::{Client, Signal};

use super::{Running, Tls, put, shown};

const RELOADS: &str = "portcullis_tls_certificate_reloads_total";
const FAILED: &str = "portcullis_tls_certificate_reload_failed_total";
const EXPIRY: &str = "portcullis_tls_certificate_expiry_seconds";

#[track_caller]
fn wait_for(site: &Running, issued: &Issued, reloads: u64) {
    let labels = [("listener", "web")];
    site.wait_stat(RELOADS, &labels, |count| count == reloads);
    assert_eq!(
        shown(&mut site.client("a.test")),
        issued.chain()[0].to_vec()
    );
}

/// A new pair serves new connections; those that are open notice nothing.
#[test]
fn a_new_certificate_serves_new_connections() {
    let site = Tls::new().start();
    site.neighbour_is_well();
    let old = shown(&mut site.client("a.test"));
    let mut kept = site.client("a.test");
    for number in 1..=3 {
        let next = site.authority().issue(&["a.test"]);
        put(site.scratch(), "a", &next);
        wait_for(&site, &next, number);
    }
    assert_eq!(shown(&mut kept), old);
    assert_eq!(kept.get("/", "a.test").text(), "well");
    site.neighbour_is_well();
}

/// F4: an unusable pair keeps the old one, and says so.
#[test]
fn f4_an_unusable_certificate_keeps_the_old_one() {
    let site = Tls::new().start();
    site.neighbour_is_well();
    let first = shown(&mut site.client("a.test"));
    let path = site.scratch().path().join("a.pem").display().to_string();
    let labels = [("listener", "web"), ("certificate", path.as_str())];
    let expiry = site.stats().counter(EXPIRY, &labels);
    assert!(expiry > 1_700_000_000, "{expiry}");

    let other = site.authority().issue(&["a.test"]);
    let old = site
        .authority()
        .fill(Order::of(&["a.test"]).years(2001, 2002));
    let torn = &other.cert[..other.cert.len() / 2];
    let mut failed = 0;
    for (row, cert) in [
        ("torn", torn),
        ("another key's", &other.cert),
        ("empty", ""),
    ] {
        site.scratch().write("a.pem", cert);
        site.wait_stat(FAILED, &labels, |count| count > failed);
        failed = site.stats().counter(FAILED, &labels);
        assert_eq!(shown(&mut site.client("a.test")), first, "{row}");
    }
    put(site.scratch(), "a", &old);
    site.wait_log("expired");
    assert_eq!(shown(&mut site.client("a.test")), first);
    fs::remove_file(site.scratch().path().join("a.key")).unwrap();
    site.wait_log("a.key");
    assert_eq!(shown(&mut site.client("a.test")), first);
    assert_eq!(site.stats().counter(EXPIRY, &labels), expiry);
    assert_eq!(site.stats().counter(RELOADS, &[("listener", "web")]), 0);
    site.neighbour_is_well();

    let next = site
        .authority()
        .fill(Order::of(&["a.test"]).years(2020, 2090));
    put(site.scratch(), "a", &next);
    wait_for(&site, &next, 1);
    assert_eq!(site.stats().counter(EXPIRY, &labels), 3_786_912_000);
    site.neighbour_is_well();
}

/// As cert-manager and kubelet replace files: a link to a folder is turned to another one.
#[test]
fn links_are_followed_each_time() {
    let tls = Tls::new();
    let folder = tls.scratch.path().to_owned();
    let version = |number: u32, issued: &Issued| {
        let version = folder.join(format!("..{number}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("a.pem"), &issued.cert).unwrap();
        fs::write(version.join("a.key"), &issued.key).unwrap();
        symlink(format!("..{number}"), folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    };
    let first = tls.authority.issue(&["a.test"]);
    version(1, &first);
    for file in ["a.pem", "a.key"] {
        fs::remove_file(folder.join(file)).unwrap();
        symlink(format!("..data/{file}"), folder.join(file)).unwrap();
    }
    let site = tls.start();
    wait_for(&site, &first, 0);
    for number in 2..5 {
        let next = site.authority().issue(&["a.test"]);
        version(number, &next);
        wait_for(&site, &next, u64::from(number) - 1);
        fs::remove_dir_all(folder.join(format!("..{}", number - 1))).unwrap();
    }
}

/// New authorities for client certificates count from the next handshake on, also for sessions taken up again.
#[test]
fn new_roots_count_at_once() {
    let rules = "client_certificates: { mode: required, roots: ROOTS }";
    let site = Tls::new().tls(rules).start();
    let alice = site.authority().issue(&["alice.corp"]);
    let config = Arc::new(site.authority().client(Some(&alice)));
    let mut kept = site.try_client(&config, "a.test").unwrap();
    assert_eq!(kept.get("/", "a.test").text(), "well");

    let others = Authority::new("others");
    site.scratch().write("roots.pem", others.pem());
    site.wait_stat(RELOADS, &[("listener", "web")], |count| count == 1);
    site.refusal(&config, "a.test");
    site.wait_refused("tls_client_certificate", 1);
    assert_eq!(kept.get("/", "a.test").text(), "well");
    let bob = others.issue(&["bob.corp"]);
    let bob = Arc::new(site.authority().client(Some(&bob)));
    let mut client = site.try_client(&bob, "a.test").unwrap();
    assert_eq!(client.get("/", "a.test").text(), "well");
}

/// HUP looks at the files as well: some file systems tell nobody of changes.
#[test]
fn hup_looks_at_certificates() {
    let site = Tls::new().start();
    let next = site.authority().issue(&["a.test"]);
    put(site.scratch(), "a", &next);
    site.signal(Signal::HUP);
    wait_for(&site, &next, 1);
}

/// A reload that changes the `tls` block moves the listener over and closes nothing.
#[test]
fn a_reload_changes_tls_in_place() {
    let tls = Tls::new();
    let origin = harness::Origin::http(|_| harness::Reply::ok("well"));
    let before = tls.yaml(&origin);
    let extra = tls.authority.issue(&["b.test"]);
    put(&tls.scratch, "b", &extra);
    let folder = tls.scratch.path().display().to_string();
    let site = tls.start_with(origin);
    let address = site.addr("web");
    site.neighbour_is_well();
    let pair = |file: &str| format!("{{ cert: {folder}/{file}.pem, key: {folder}/{file}.key }}");
    let after = before.replace(&pair("a"), &format!("{}, {}", pair("a"), pair("b")));
    assert_eq!(site.reload(&after).status, 200);
    assert_eq!(site.addr("web"), address);
    assert_eq!(shown(&mut site.client("b.test")), extra.chain()[0].to_vec());
    site.neighbour_is_well();

    // A pair that cannot be used refuses the whole configuration.
    let broken = after.replace(&format!("{folder}/b.key"), &format!("{folder}/a.key"));
    let refused = site.reload(&broken);
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("does not belong"),
        "{}",
        refused.text()
    );
    assert_eq!(shown(&mut site.client("b.test")), extra.chain()[0].to_vec());

    // And without TLS the listener speaks in the clear.
    let start = after.find("    tls:\n").unwrap();
    let end = after.find("drain:").unwrap();
    let clear = [&after[..start], &after[end..]].concat();
    assert_eq!(site.reload(&clear).status, 200);
    assert_eq!(Client::connect(address).get("/", "a.test").text(), "well");
    site.neighbour_is_well();
}

/// F5: certificates swapped under load: no request fails, no connection is lost.
#[test]
fn f5_swapped_under_load() {
    let site = Tls::new().tls("limits: { per_client: off }").start();
    let (done, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let (config, address) = (site.plain(), site.addr("web"));
    let connect = || Client::connect_tls(address, &config, "a.test").unwrap();
    thread::scope(|scope| {
        let load: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut kept = connect();
                    while !done.load(Ordering::Relaxed) {
                        let mut fresh = connect();
                        for client in [&mut kept, &mut fresh] {
                            assert_eq!(client.get("/", "a.test").text(), "well");
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for number in 1..=10 {
            let next = site.authority().issue(&["a.test"]);
            put(site.scratch(), "a", &next);
            // The two files may be seen one by one; each state is counted, and the last one is in place.
            site.wait_stat(RELOADS, &[("listener", "web")], |count| count == number);
        }
        done.store(true, Ordering::Relaxed);
        for client in load {
            client.join().unwrap();
        }
    });
    assert!(served.load(Ordering::Relaxed) > 20);
}
