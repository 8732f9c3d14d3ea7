//! The outside programs that the end-to-end tests use, installed where that is allowed and named where not.
//!
//! Only Debian's package manager, and only what is missing: nothing is upgraded and nothing is installed twice.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::run::{run, succeeds};

/// An outside program: how to see that it is there, and the package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    /// A command that succeeds when it is there.
    probe: &'static [&'static str],
    /// The Debian package.
    package: &'static str,
    /// What the tests do with it.
    purpose: &'static str,
}

/// Everything that the tests use.
pub(crate) const NEEDED: &[Needed] = &[
    Needed {
        probe: &["nginx", "-v"],
        package: "nginx",
        purpose: "a real HTTP upstream",
    },
    Needed {
        probe: &["curl", "--version"],
        package: "curl",
        purpose: "a real HTTP client",
    },
    Needed {
        probe: &["nghttp", "--version"],
        package: "nghttp2-client",
        purpose: "real HTTP/2 clients: nghttp, h2load",
    },
    Needed {
        probe: &["nghttpd", "--version"],
        package: "nghttp2-server",
        purpose: "a real HTTP/2 server",
    },
    Needed {
        probe: &["chromium", "--version"],
        package: "chromium",
        purpose: "a real browser",
    },
    Needed {
        // wrk -v prints its version and fails, as it does for any usage.
        probe: &["sh", "-c", "command -v wrk"],
        package: "wrk",
        purpose: "HTTP load",
    },
    Needed {
        // Debian keeps the server's programs out of the path.
        probe: &[
            "sh",
            "-c",
            "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb",
        ],
        package: "postgresql",
        purpose: "a real Postgres server, pgbench",
    },
    Needed {
        probe: &["psql", "--version"],
        package: "postgresql-client",
        purpose: "a real Postgres client",
    },
    Needed {
        probe: &["redis-server", "--version"],
        package: "redis-server",
        purpose: "a real Redis server",
    },
    Needed {
        probe: &["nutcracker", "--version"],
        package: "nutcracker",
        purpose: "twemproxy, whose placement of keys is kept",
    },
    Needed {
        probe: &["dnsmasq", "--version"],
        package: "dnsmasq-base",
        purpose: "a real name server",
    },
    Needed {
        probe: &["dig", "-v"],
        package: "bind9-dnsutils",
        purpose: "a real client of name servers",
    },
    Needed {
        probe: &["dnsperf", "-h"],
        package: "dnsperf",
        purpose: "load for name servers",
    },
    Needed {
        probe: &["python3", "-c", "import venv, ensurepip"],
        package: "python3-venv",
        purpose: "scripted upstreams and WebSocket clients",
    },
];

/// Asked by Debian's packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, or says what is missing. Tests that need it then say so by themselves.
pub(crate) fn install(needed: &[Needed]) {
    let missing = missing(needed);
    if missing.is_empty() {
        return;
    }
    if let Some(apt) = apt() {
        let policy = Policy::deny_services();
        let packages = missing.iter().map(|needed| needed.package);
        let packages: Vec<_> = packages.collect();
        let installed = install_packages(&apt, &packages);
        drop(policy);
        if installed {
            return;
        }
    }
    for needed in self::missing(needed) {
        let Needed {
            package, purpose, ..
        } = needed;
        eprintln!("missing: {package} ({purpose}). Install that Debian package, or its like.");
    }
    eprintln!("Tests that need these fail; with PORTCULLIS_SKIP_TOOLS=1 they are skipped.");
}

fn missing(needed: &[Needed]) -> Vec<Needed> {
    let is_missing = |needed: &&Needed| {
        let (program, arguments) = needed.probe.split_first().unwrap_or((&"false", &[]));
        // Servers live where the path of an ordinary user does not look.
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{path}:/usr/local/sbin:/usr/sbin:/sbin");
        // Through env(1), which looks along the path that it is given.
        let mut probe = Command::new("env");
        probe
            .arg(format!("PATH={path}"))
            .arg(program)
            .args(arguments);
        !succeeds(&mut probe)
    };
    needed.iter().filter(is_missing).copied().collect()
}

/// The words in front of an apt-get command that may install something; `None` when nobody lets us.
fn apt() -> Option<Vec<&'static str>> {
    let id = crate::run::output_of(Command::new("id").arg("-u"))?;
    let prefix = if id.trim() == "0" {
        vec!["env"]
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        vec!["sudo", "-n", "env"]
    } else {
        return None;
    };
    succeeds(Command::new("apt-get").arg("--version")).then_some(prefix)
}

/// Installs from the lists that the machine has, and refreshes them when that does not do.
fn install_packages(prefix: &[&str], packages: &[&str]) -> bool {
    let apt = |arguments: &[&str]| {
        let (program, rest) = prefix.split_first().unwrap_or((&"env", &[]));
        let mut command = Command::new(program);
        command.args(rest).arg("DEBIAN_FRONTEND=noninteractive");
        command.arg("apt-get").args(arguments);
        run(&mut command).unwrap_or(false)
    };
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    apt(&install) || (apt(&["update"]) && apt(&install))
}

/// Keeps packages from starting their services while it lives: the tests start their own.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn deny_services() -> Self {
        let is_ours = !Path::new(POLICY).exists()
            && fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && succeeds(Command::new("chmod").args(["755", POLICY]));
        Self { is_ours }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_tell_present_from_missing() {
        let needed = |probe| Needed {
            probe,
            package: "p",
            purpose: "",
        };
        let rows = [
            ("present", needed(&["true"][..]), 0),
            ("fails", needed(&["false"]), 1),
            ("absent", needed(&["portcullis-no-such-program"]), 1),
        ];
        for (name, row, count) in rows {
            assert_eq!(missing(&[row]).len(), count, "{name}");
        }
    }
}
