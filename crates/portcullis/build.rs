//! Leaves unwind tables out of a release binary for Linux.
//!
//! The release profile aborts on a panic, so the tables serve only backtraces of a stripped binary. Profiles with debug
//! information keep them, and so do tests, which unwind. A panic still says its message, file and line.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link/no-unwind-tables.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    let plain = is("PROFILE", "release") && is("DEBUG", "false");
    if plain && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        // From the workspace's root, where Cargo runs the compiler and that the linker: a checkout may be moved.
        let script = "crates/portcullis/link/no-unwind-tables.ld";
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{script}");
    }
}
