//! What happened, for tests and people: records in memory and, if asked for, one JSON line each in a file.
//!
//! A line is written by one `write` before the answer leaves, so the file is complete whatever happens to the client.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::CallRecord;
use super::fault::Fault;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A request to the provider's API was answered (or deliberately not).
    Request(RequestRecord),
    /// A call was placed; or canceled, and is shown once more.
    Call(Arc<CallRecord>),
    /// A webhook was sent, or deliberately not.
    Webhook(WebhookRecord),
}

/// A request to the provider's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it arrived, civil.
    pub civil_at: Timestamp,
    /// When it arrived, real.
    pub real_at: Timestamp,
    /// GET, POST.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The status of the answer; none where the connection was closed without one.
    pub status: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
    /// The number it asked to ring.
    pub phone: Option<String>,
    /// The call it placed, or canceled.
    pub call_id: Option<u64>,
}

/// One sending of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// When it was sent or given up, civil.
    pub civil_at: Timestamp,
    /// When it was sent or given up, real.
    pub real_at: Timestamp,
    /// About which call.
    pub call_id: u64,
    /// About what of it: `result`; for HappyRobot `start` or `end`, or the session's status.
    pub event: String,
    /// The receiver's answer; none where nothing was sent or no answer came.
    pub status: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
}

/// The newest records, and the file.
pub(super) struct Log {
    memory: Mutex<VecDeque<Record>>,
    memory_max: usize,
    file: Option<Mutex<File>>,
}

impl Log {
    /// A log that keeps `memory_max` records in memory, and appends to `file`.
    pub(super) fn open(file: Option<&Path>, memory_max: usize) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path).map(Mutex::new);
        Ok(Self { memory: Mutex::default(), memory_max, file: file.map(open).transpose()? })
    }

    pub(super) fn write(&self, record: Record) {
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&record).expect("a record has only text keys");
            line.push(b'\n');
            if let Err(error) = locked(file).write_all(&line) {
                tracing::error!(%error, "Simulator cannot write its log; what follows is missing there");
            }
        }
        let mut memory = locked(&self.memory);
        if memory.len() >= self.memory_max {
            memory.pop_front();
        }
        memory.push_back(record);
    }

    pub(super) fn records(&self) -> Vec<Record> {
        locked(&self.memory).iter().cloned().collect()
    }
}

/// Locks; a panic elsewhere does not make the records less true.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_through_the_file_and_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let log = Log::open(Some(&path), 2).unwrap();
        let record = |call_id| {
            let at = "2026-03-02T09:00:00Z".parse().unwrap();
            let event = "result".to_owned();
            Record::Webhook(WebhookRecord { civil_at: at, real_at: at, call_id, event, status: Some(200), fault: None })
        };
        for call_id in 1..=3 {
            log.write(record(call_id));
        }
        assert_eq!(log.records(), [record(2), record(3)]);
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [record(1), record(2), record(3)]);
    }
}
