//! HAProxy in TCP mode, as a load balancer that says whose a connection is.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use super::leash::Leash;
use super::{Folder, free_port};

/// A running load balancer.
#[derive(Debug)]
pub(crate) struct HaProxy {
    _leash: Leash,
    port: u16,
}

impl HaProxy {
    /// One that leads to a port of loopback, connecting from `source` and saying so by `says`, such as `send-proxy-v2`.
    pub(crate) fn start(to: u16, source: &str, says: &str) -> Self {
        let (folder, port) = (Folder::new("haproxy"), free_port());
        let config = folder.join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
             backend b\n  source {source}\n  server s 127.0.0.1:{to} {says}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(config);
        let mut leash = Leash::start("HAProxy (make setup-test installs it)", folder, "TERM", &command);
        leash.wait(|_| TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
        Self { _leash: leash, port }
    }

    /// Where its clients connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
