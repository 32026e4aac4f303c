//! The version of the program, and what it was built from.

use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from, or `unknown`. The build takes it from the variable
/// `STRAIT_COMMIT`: the image's context has no repository to ask.
pub const COMMIT: &str = match option_env!("STRAIT_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// The answer to `strait --version`, without the name of the program.
pub fn report() -> &'static str {
    static REPORT: LazyLock<String> = LazyLock::new(|| {
        let allocator = match cfg!(feature = "jemalloc") {
            true => "jemalloc",
            false => "the system's",
        };
        let (target, features) = (target(), features());
        format!(
            "{VERSION}\ncommit     {COMMIT}\ntarget     {target}\nallocator  {allocator}\nfeatures   {features}"
        )
    });
    &REPORT
}

/// The platform in Rust's words, such as `x86_64-unknown-linux-gnu, static`.
fn target() -> String {
    let library = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () => "",
    };
    let linked = match cfg!(target_feature = "crt-static") {
        true => ", static",
        false => "",
    };
    format!("{ARCH}-unknown-{OS}{library}{linked}")
}

/// The cargo features of this build that add something to the program.
fn features() -> String {
    let known = [
        ("doctor", cfg!(feature = "doctor")),
        ("kubernetes", cfg!(feature = "kubernetes")),
        ("otlp", cfg!(feature = "otlp")),
        ("tools", cfg!(feature = "tools")),
        ("top", cfg!(feature = "top")),
    ];
    let built = known.iter().filter(|(_, built)| *built);
    let built: Vec<&str> = built.map(|(name, _)| *name).collect();
    match built.is_empty() {
        true => "none".to_owned(),
        false => built.join(", "),
    }
}
