//! The few forms of URL that a configuration may hold.

use std::net::IpAddr;
use std::path::PathBuf;

use super::values::is_loopback;

/// Whether `text` is `https://host…`, or `http://host…` on loopback: what travels there decides who is let in.
pub(super) fn web(text: &str) -> Result<(), &'static str> {
    let (host, plain) = address(text)?;
    if plain && !is_loopback(host) {
        return Err("http:// is for loopback; use https://");
    }
    Ok(())
}

/// Whether `text` is `http://host…` on loopback, where a browser on the same machine is sent back to.
pub(super) fn loopback(text: &str) -> Result<(), &'static str> {
    match address(text) {
        Ok((host, true)) if is_loopback(host) => Ok(()),
        _ => Err("expected http:// and this machine, such as http://127.0.0.1/ or http://localhost:8250/"),
    }
}

/// Whether `text` is `https://host…` or `http://host…`: what an authority answers is signed, so nobody between can change
/// it.
pub(super) fn timestamp_authority(text: &str) -> Result<(), &'static str> {
    address(text).map(|_| ())
}

/// The host, and whether the way to it is plain.
fn address(text: &str) -> Result<(&str, bool), &'static str> {
    let (rest, plain) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return Err("expected a URL that begins with https://"),
    };
    if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b'?' | b'#')) {
        return Err("a URL without query, fragment and blanks is expected here");
    }
    let authority = rest.split('/').next().unwrap_or(rest);
    if authority.contains('@') {
        return Err("a URL must not hold credentials");
    }
    host(authority).map(|host| (host, plain)).ok_or("the URL names no host")
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`, without brackets.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']')?;
            host.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("1"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "1")),
    };
    let port_fits = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (!host.is_empty() && port_fits).then_some(host)
}

/// Where an archive may be, by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ArchiveUrl {
    Folder(PathBuf),
    Azure { container: String, prefix: String },
}

/// Reads `file:///folder` or `az://container/prefix`.
pub(super) fn archive(text: &str) -> Result<ArchiveUrl, &'static str> {
    if let Some(path) = text.strip_prefix("file://") {
        return folder(path);
    }
    match text.strip_prefix("az://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
        Some((container, prefix)) => azure(container, prefix.trim_end_matches('/')),
        None => Err("expected file:///folder or az://container/prefix"),
    }
}

fn folder(path: &str) -> Result<ArchiveUrl, &'static str> {
    if !path.starts_with('/') {
        return Err("a folder is given by its absolute path: file:///folder");
    }
    if path.contains(['%', '?', '#']) || path.split('/').any(|step| matches!(step, "." | "..")) {
        return Err("the folder's path is taken as it is written, without % ? # and steps such as ..");
    }
    Ok(ArchiveUrl::Folder(PathBuf::from(path)))
}

/// The container's name by Azure's rule; the prefix in a form that no reader has to escape.
fn azure(container: &str, prefix: &str) -> Result<ArchiveUrl, &'static str> {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = (3..=63).contains(&container.len())
        && container.bytes().all(|byte| lower(byte) || byte == b'-')
        && !container.starts_with('-')
        && !container.ends_with('-')
        && !container.contains("--");
    if !fits {
        return Err("a container's name has 3 to 63 of a-z 0-9 and single dashes inside");
    }
    let step_fits = |step: &str| {
        !matches!(step, "" | "." | "..")
            && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if !prefix.is_empty() && !prefix.split('/').all(step_fits) {
        return Err("a prefix has steps of a-z A-Z 0-9 - _ . between single slashes");
    }
    Ok(ArchiveUrl::Azure { container: container.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_is_https_and_http_only_on_loopback() {
        for good in [
            "https://login.example/t/v2.0",
            "https://[2001:db8::1]:8443/",
            "http://127.0.0.1:10000/a",
            "http://[::1]:1",
        ] {
            assert_eq!(web(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "login.example",
            "ftp://x",
            "https://",
            "https:///x",
            "https://u:p@x",
            "https://x?y",
            "https://x:y",
            "http://x",
            "https://a b",
            "http://localhost.example",
            "http://[::2]",
        ] {
            assert!(web(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_archive_is_a_folder_or_a_container() {
        let azure = |container: &str, prefix: &str| {
            Ok(ArchiveUrl::Azure { container: container.into(), prefix: prefix.into() })
        };
        assert_eq!(archive("file:///var/lib/x"), Ok(ArchiveUrl::Folder("/var/lib/x".into())));
        assert_eq!(archive("az://audit"), azure("audit", ""));
        assert_eq!(archive("az://audit/prod/eu/"), azure("audit", "prod/eu"));
        for bad in [
            "",
            "x",
            "file://x",
            "file:///a/../b",
            "file:///a%20b",
            "az://",
            "az://AB",
            "az://a",
            "az://a--b",
            "az://abc//x",
            "az://abc/../x",
            "az://abc/a b",
            "azure://abc/x",
            "s3://abc",
        ] {
            assert!(archive(bad).is_err(), "{bad}");
        }
    }
}
