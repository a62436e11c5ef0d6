//! A TCP proxy that goes wrong when it is told to: what lies between a daemon and its database, or its provider.
//!
//! It copies bytes, so it can lose them but never invent any. A connection that has lost a byte stays silent in that
//! direction for the rest of its life, whatever becomes of the link: the other side is never told, as when a machine
//! behind a firewall has gone. New connections follow the link as it is then.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are copied at once.
const CHUNK: usize = 16 * 1024;

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// The direction bytes travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connected to who accepted: requests.
    There,
    /// The other one: answers.
    Back,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They arrive.
    Open,
    /// They arrive so much later.
    Delayed(Duration),
    /// Everything is accepted and nothing arrives, in either direction.
    BlackHole,
    /// Nothing arrives in one direction.
    HalfOpen(Way),
}

impl Mode {
    fn loses(self, way: Way) -> bool {
        match self {
            Self::Open | Self::Delayed(_) => false,
            Self::BlackHole => true,
            Self::HalfOpen(dead) => dead == way,
        }
    }
}

/// What a link is set to.
#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    targets: Vec<Target>,
    /// How often every connection was closed, politely and rudely.
    cuts: u64,
    resets: u64,
}

/// A listening end whose connections are copied to a target.
pub struct Link {
    /// Where to connect to.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// A link to whatever of `targets` answers; connections take them in turn.
    pub async fn to(targets: Vec<Target>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(State { mode: Mode::Open, targets, cuts: 0, resets: 0 });
        let connections = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(accept(listener, watched, connections.clone()));
        Self { address, state, connections, accepting }
    }

    /// Changes what becomes of bytes, of connections that are there as of new ones.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// Leads new connections elsewhere; those that are there stay where they are.
    pub fn turn_to(&self, targets: Vec<Target>) {
        self.state.send_modify(|state| state.targets = targets);
    }

    /// Closes every connection on both sides.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Closes every connection without ceremony: both sides see a reset.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// How many connections are there now, silent ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Connections end when they notice that nobody can change their state any more.
        self.accepting.abort();
    }
}

/// Counts a connection while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, state: watch::Receiver<State>, connections: Arc<AtomicUsize>) {
    let mut turn = 0usize;
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors for a moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        turn = turn.wrapping_add(1);
        let counted = Counted::new(&connections);
        let state = state.clone();
        tokio::spawn(async move {
            carry(client, state, turn).await;
            drop(counted);
        });
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn carry(mut client: TcpStream, mut state: watch::Receiver<State>, turn: usize) {
    let born = state.borrow_and_update().clone();
    if client.set_nodelay(true).is_err() {
        return;
    }
    if born.mode == Mode::BlackHole {
        // Nobody hears of it; who connected believes to be connected.
        let swallowed = pump(&mut client, tokio::io::sink(), Way::There, state.clone());
        let end = tokio::select! {
            biased;
            end = ended(&mut state, &born) => end,
            () = swallowed => End::Closed,
        };
        return close(&client, end);
    }
    for number in 0..born.targets.len() {
        match &born.targets[(turn + number) % born.targets.len()] {
            Target::Tcp(address) => {
                let Ok(mut server) = TcpStream::connect(address).await else { continue };
                let _ = server.set_nodelay(true);
                let end = flow(&mut client, &mut server, &mut state, &born).await;
                close(&server, end);
                return close(&client, end);
            }
            Target::Socket(path) => {
                let Ok(mut server) = UnixStream::connect(path).await else { continue };
                let end = flow(&mut client, &mut server, &mut state, &born).await;
                return close(&client, end);
            }
        }
    }
    close(&client, End::Reset);
}

fn close(stream: &TcpStream, end: End) {
    if end == End::Reset {
        // Dropped with bytes or without, the kernel then sends a reset.
        let _ = stream.set_zero_linger();
    }
}

/// Copies both ways until one side is gone, or the link says so.
async fn flow(
    client: &mut TcpStream,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    state: &mut watch::Receiver<State>,
    born: &State,
) -> End {
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = tokio::io::split(server);
    let there = pump(client_reads, server_writes, Way::There, state.clone());
    let back = pump(server_reads, client_writes, Way::Back, state.clone());
    tokio::select! {
        biased;
        end = ended(state, born) => end,
        () = there => End::Closed,
        () = back => End::Closed,
    }
}

/// Waits until the link closes its connections.
async fn ended(state: &mut watch::Receiver<State>, born: &State) -> End {
    match state.wait_for(|now| (now.cuts, now.resets) != (born.cuts, born.resets)).await {
        Ok(now) if now.resets != born.resets => End::Reset,
        // Cut, or the link itself is gone.
        Ok(_) | Err(_) => End::Closed,
    }
}

/// Copies in one direction until that side closes; a side that is not heard any more cannot close.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; CHUNK];
    let mut silent = false;
    loop {
        let read: io::Result<usize> = from.read(&mut buffer).await;
        let mode = state.borrow().mode;
        silent |= mode.loses(way);
        let count = match read {
            Ok(0) | Err(_) if silent && way == Way::Back => return std::future::pending().await,
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if silent {
            continue;
        }
        if let Mode::Delayed(by) = mode {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const SILENCE: Duration = Duration::from_millis(200);

    /// A server that sends back what it gets, and says what that was.
    async fn echo() -> (Target, tokio::sync::mpsc::UnboundedReceiver<u8>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let (told, heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        let _ = told.send(byte);
                        stream.write_u8(byte).await.unwrap();
                    }
                });
            }
        });
        (target, heard)
    }

    async fn answered(stream: &mut TcpStream, byte: u8) {
        stream.write_u8(byte).await.unwrap();
        assert_eq!(tokio::time::timeout(SOON, stream.read_u8()).await.unwrap().unwrap(), byte);
    }

    async fn silent(stream: &mut TcpStream, byte: u8) {
        stream.write_u8(byte).await.unwrap();
        assert!(tokio::time::timeout(SILENCE, stream.read_u8()).await.is_err(), "something came back");
    }

    async fn none_left(link: &Link) {
        let gone = async {
            while link.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, gone).await.expect("no connection is left");
    }

    #[tokio::test]
    async fn what_is_closed_is_told_politely_or_rudely() {
        let (target, _heard) = echo().await;
        let link = Link::to(vec![target]).await;
        let mut first = TcpStream::connect(link.address).await.unwrap();
        answered(&mut first, 1).await;
        assert_eq!(link.connections(), 1);
        link.cut();
        assert_eq!(first.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        none_left(&link).await;

        let mut second = TcpStream::connect(link.address).await.unwrap();
        answered(&mut second, 2).await;
        link.reset();
        assert_eq!(second.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        none_left(&link).await;

        let mut third = TcpStream::connect(link.address).await.unwrap();
        answered(&mut third, 3).await;
        drop(third);
        none_left(&link).await;
    }

    #[tokio::test]
    async fn what_has_lost_a_byte_stays_silent_and_what_is_new_does_not() {
        let (target, mut heard) = echo().await;
        let link = Link::to(vec![target]).await;
        let mut mute = TcpStream::connect(link.address).await.unwrap();
        answered(&mut mute, 1).await;
        link.set(Mode::HalfOpen(Way::Back));
        silent(&mut mute, 2).await;
        assert_eq!((heard.recv().await, heard.recv().await), (Some(1), Some(2)), "requests arrive");

        link.set(Mode::HalfOpen(Way::There));
        let mut deaf = TcpStream::connect(link.address).await.unwrap();
        silent(&mut deaf, 3).await;
        link.set(Mode::BlackHole);
        let mut hole = TcpStream::connect(link.address).await.unwrap();
        silent(&mut hole, 4).await;
        assert!(heard.try_recv().is_err(), "neither arrived");

        link.set(Mode::Open);
        for dead in [&mut mute, &mut deaf, &mut hole] {
            silent(dead, 5).await;
        }
        let mut fresh = TcpStream::connect(link.address).await.unwrap();
        answered(&mut fresh, 6).await;
    }

    #[tokio::test]
    async fn delays_delay_and_links_are_turned() {
        let (here, _) = echo().await;
        let (there, mut heard) = echo().await;
        let link = Link::to(vec![here]).await;
        link.set(Mode::Delayed(SILENCE));
        let mut slow = TcpStream::connect(link.address).await.unwrap();
        let asked = std::time::Instant::now();
        answered(&mut slow, 1).await;
        assert!(asked.elapsed() >= SILENCE * 2, "there and back: {:?}", asked.elapsed());

        link.set(Mode::Open);
        link.turn_to(vec![there]);
        let mut turned = TcpStream::connect(link.address).await.unwrap();
        answered(&mut turned, 7).await;
        assert_eq!(heard.recv().await, Some(7));
    }
}
