//! Tests that change what belongs to a whole network namespace run themselves again in one of their own.

use std::process::Command;

/// In a namespace: runs the rest of this command with loopback up.
const WITH_LOOPBACK: &str = "ip link set lo up && exec \"$0\" \"$@\"";

/// Set where a test runs itself within a namespace: outside it would change the host.
const WITHIN: &str = "STRAIT_TEST_WITHIN_NAMESPACE";

/// Does `what` in a network namespace of its own. `test` is the name of the test that calls this, with its module's.
pub fn in_namespace(test: &str, what: impl FnOnce()) {
    if std::env::var_os(WITHIN).is_some() {
        return what();
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "--mount"])
        .args(["sh", "-c", WITH_LOOPBACK])
        .env(WITHIN, "1")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .output()
        .expect("unshare(1) runs: Debian's util-linux has it");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("running 1 test"),
        "this test needs a network namespace, with iproute2's ip in it: {errors}{text}"
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "the test failed within its namespace: {errors}{text}"
    );
}

/// Gives the namespace's loopback interface another address.
pub fn add_address(address: &str) {
    let mut ip = Command::new("ip");
    let status = ip.args(["address", "add", address, "dev", "lo"]).status();
    assert!(status.unwrap().success());
}

/// Has another file stand in the namespace in a file's place.
pub fn replace_file(place: &str, with: &std::path::Path) {
    let mut mount = Command::new("mount");
    let status = mount.arg("--bind").arg(with).arg(place).status();
    assert!(status.unwrap().success());
}
