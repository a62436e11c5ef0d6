//! Tells systemd how the daemon is: ready, alive, about to stop, and one line for `systemctl status`.
//!
//! The protocol is a datagram of `NAME=value` lines to a socket whose address is in the environment (sd_notify(3), read
//! 2026-11-21). Where nobody listens nothing is sent, so the daemon is the same everywhere. A message that does not get
//! through is lost; what matters is sent again and again.
//!
//! What it deliberately does not do: pass file descriptors, speak for another process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tracing::{debug, warn};

/// Longest status line sent, in characters: `systemctl status` shows one line.
const STATUS_CHARS_MAX: usize = 200;

/// Whoever started us and wants to know how we are; perhaps nobody.
#[derive(Debug)]
pub struct Supervisor {
    line: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that this process's environment names.
    pub fn of_process() -> Self {
        let watchdog = watchdog(env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID"), std::process::id());
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Self { line: None, watchdog: None };
        };
        match connect(&name) {
            Ok(line) => Self { line: Some(line), watchdog },
            Err(problem) => {
                warn!("The supervisor's socket {} cannot be used: {problem}", name.display());
                Self { line: None, watchdog: None }
            }
        }
    }

    /// Whether somebody listens.
    pub fn listens(&self) -> bool {
        self.line.is_some()
    }

    /// How often [`Supervisor::alive`] is to be said: twice in the time after which silence means death.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|silence_max| silence_max / 2)
    }

    /// The start is over, or a reload.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// What we are doing, in a line.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={}", one_line(line)));
    }

    /// The passes make progress.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The configuration is read again; [`Supervisor::ready`] says when that is done. The time is what
    /// `Type=notify-reload` of systemd 253 wants.
    pub fn reloading(&self) {
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let micros = i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1_000;
                self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
            }
            Err(problem) => warn!("The supervisor is not told of the reload: {problem}"),
        }
    }

    fn send(&self, message: &str) {
        let Some((socket, to)) = &self.line else { return };
        if let Err(problem) = socket.send_to_addr(message.as_bytes(), to) {
            debug!("The supervisor did not hear {message:?}: {problem}");
        }
    }
}

/// A socket that never waits, and the address to write to: a path, or `@` and an abstract name.
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// How long we may be silent, if that is asked of this process and not of another one.
fn watchdog(micros: Option<OsString>, asked: Option<OsString>, process: u32) -> Option<Duration> {
    let number = |value: OsString| value.to_str()?.parse::<u64>().ok();
    if asked.is_some_and(|asked| number(asked) != Some(process.into())) {
        return None;
    }
    number(micros?).filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// A line break would begin another variable of the protocol.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(STATUS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener {
        socket: UnixDatagram,
        _folder: tempfile::TempDir,
    }

    impl Listener {
        fn heard(&self) -> String {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).expect("something was sent");
            String::from_utf8(buffer[..length].to_vec()).expect("it is text")
        }

        fn heard_nothing(&self) -> bool {
            self.socket.set_nonblocking(true).expect("it can be asked without waiting");
            let mut buffer = [0; 1];
            self.socket.recv(&mut buffer).is_err_and(|problem| problem.kind() == io::ErrorKind::WouldBlock)
        }
    }

    fn listened_to() -> (Supervisor, Listener) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let line = connect(path.as_os_str()).expect("an address");
        let supervisor = Supervisor { line: Some(line), watchdog: Some(Duration::from_secs(30)) };
        (supervisor, Listener { socket, _folder: folder })
    }

    #[test]
    fn each_message_is_one_datagram() {
        let (supervisor, listener) = listened_to();
        supervisor.ready();
        assert_eq!(listener.heard(), "READY=1");
        supervisor.alive();
        assert_eq!(listener.heard(), "WATCHDOG=1");
        supervisor.stopping();
        assert_eq!(listener.heard(), "STOPPING=1");
        assert_eq!(supervisor.alive_every(), Some(Duration::from_secs(15)));
        assert!(listener.heard_nothing());
    }

    #[test]
    fn a_status_is_one_line_whatever_it_holds() {
        let (supervisor, listener) = listened_to();
        supervisor.status("3 calls\nREADY=1");
        assert_eq!(listener.heard(), "STATUS=3 calls READY=1");
        supervisor.status(&"ü".repeat(1_000));
        assert_eq!(listener.heard(), format!("STATUS={}", "ü".repeat(STATUS_CHARS_MAX)));
    }

    #[test]
    fn a_reload_says_when_it_began_on_the_clock_that_is_never_set() {
        let micros = || {
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is such a clock");
            now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000
        };
        let (supervisor, listener) = listened_to();
        let before = micros();
        supervisor.reloading();
        let heard = listener.heard();
        let told: i64 = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both").parse().expect("a number");
        assert!((before..=micros()).contains(&told), "{heard}");
    }

    #[test]
    fn abstract_names_are_understood_and_others_refused() {
        let name = format!("outdial-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        let line = connect(OsStr::new(&format!("@{name}"))).expect("an address");
        Supervisor { line: Some(line), watchdog: None }.ready();
        let mut buffer = [0; 7];
        socket.recv(&mut buffer).expect("something was sent");
        assert_eq!(&buffer, b"READY=1");
        assert!(connect(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn nobody_listening_is_no_trouble() {
        let (supervisor, listener) = listened_to();
        drop(listener);
        supervisor.ready();
        let nobody = Supervisor { line: None, watchdog: None };
        nobody.ready();
        assert!(!nobody.listens());
    }

    #[test]
    fn the_watchdog_is_ours_alone() {
        let text = |text: &str| Some(OsString::from(text));
        let half_a_minute = Some(Duration::from_secs(30));
        assert_eq!(watchdog(text("30000000"), text("7"), 7), half_a_minute);
        assert_eq!(watchdog(text("30000000"), None, 7), half_a_minute);
        assert_eq!(watchdog(text("30000000"), text("8"), 7), None, "our parent's");
        assert_eq!(watchdog(None, text("7"), 7), None);
        assert_eq!(watchdog(text("0"), None, 7), None);
        assert_eq!(watchdog(text("soon"), None, 7), None);
    }
}
