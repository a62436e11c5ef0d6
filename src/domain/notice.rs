//! What a campaign's owner wants told to another system, and with which particulars.

use serde_json::Value;

use super::definition::NAME_CHARS_MAX;
use super::document::{Cursor, Node, Place, Report};
use super::outcome::words;

/// Most variables that a campaign may ask for by name.
const NAMES_MAX: usize = 100;

words!(
    /// A fact that can be told.
    NoticeKind {
        /// An attempt has ended, in whatever way.
        AttemptFinished = "attempt_finished",
        /// A lead was given a verdict.
        LeadDisposed = "lead_disposed",
        /// A campaign is over and nothing but held attempts is left of it.
        CampaignFinished = "campaign_finished",
        /// The account of a campaign cannot place calls any more, or was told not to.
        AccountStopped = "account_stopped",
    }
);

words!(
    /// Particulars that are told only where they are asked for.
    NoticePart {
        /// The person's number.
        Phone = "phone",
        /// What was said.
        Transcript = "transcript",
        /// Where the recording is.
        RecordingUrl = "recording_url",
    }
);

/// The section `notify` of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Name of the webhook in the configuration: addresses and secrets stay out of the database.
    pub webhook: String,
    /// What is told; each once.
    pub events: Vec<NoticeKind>,
    /// Personal particulars that are sent along.
    pub send: Vec<NoticePart>,
    /// Variables of the lead that are sent along.
    pub variables: Vec<String>,
    /// Variables extracted from the conversation that are sent along.
    pub extracted: Vec<String>,
}

/// Reads the section.
pub fn read_notify(cursor: &Cursor<'_>) -> Option<Notify> {
    let fields = cursor.fields()?;
    let webhook = fields.required_like("webhook", "webhook: crm", |cursor| cursor.name(NAME_CHARS_MAX));
    let events = fields.or("events", NoticeKind::ALL.to_vec(), |cursor| {
        let words: Vec<&str> = NoticeKind::ALL.iter().map(|word| word.as_str()).collect();
        each_once(&cursor, |item| item.word::<NoticeKind>(&words))
    });
    let send = fields.or("send", Vec::new(), |cursor| {
        let words: Vec<&str> = NoticePart::ALL.iter().map(|word| word.as_str()).collect();
        each_once(&cursor, |item| item.word::<NoticePart>(&words))
    });
    let variables = fields.or("variables", Vec::new(), |cursor| each_once(&cursor, |item| item.name(NAME_CHARS_MAX)));
    let extracted = fields.or("extracted", Vec::new(), |cursor| each_once(&cursor, |item| item.name(NAME_CHARS_MAX)));
    fields.close();
    Some(Notify { webhook: webhook?, events: events?, send: send?, variables: variables?, extracted: extracted? })
}

/// The section as a stored definition has it; `None` where there is none, or none that can be read.
pub fn stored_notify(section: &Value) -> Option<Notify> {
    let node = Node::from_json(section, &Place::Stored("notify".into()));
    let report = Report::default();
    let notify = read_notify(&Cursor::new(&node, "notify", &report));
    report.finish(notify).ok()
}

fn each_once<'a, T: PartialEq>(cursor: &Cursor<'a>, read: impl Fn(&Cursor<'a>) -> Option<T>) -> Option<Vec<T>> {
    let items = cursor.items()?;
    if items.is_empty() || items.len() > NAMES_MAX {
        return cursor.wrong(format_args!("must have 1 to {NAMES_MAX} items"), "leave the key out to name none");
    }
    let mut values = Vec::new();
    let mut complete = true;
    for item in &items {
        match read(item) {
            Some(value) if values.contains(&value) => {
                item.wrong::<()>("is named twice", "remove one of them");
            }
            Some(value) => values.push(value),
            None => complete = false,
        }
    }
    complete.then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_is_told_and_nothing_personal_goes_along_unless_it_is_named() {
        let notify = stored_notify(&json!({"webhook": "crm"})).unwrap();
        assert_eq!(notify.events, NoticeKind::ALL);
        assert!(notify.send.is_empty() && notify.variables.is_empty() && notify.extracted.is_empty());
    }

    #[test]
    fn what_is_named_is_read() {
        let section = json!({"webhook": "crm", "events": ["lead_disposed"], "send": ["phone", "transcript"],
            "variables": ["customer"], "extracted": ["booked"]});
        let notify = stored_notify(&section).unwrap();
        assert_eq!(notify.events, [NoticeKind::LeadDisposed]);
        assert_eq!(notify.send, [NoticePart::Phone, NoticePart::Transcript]);
        assert_eq!((notify.variables[0].as_str(), notify.extracted[0].as_str()), ("customer", "booked"));
    }

    #[test]
    fn nonsense_is_refused() {
        for section in [
            json!(null),
            json!({}),
            json!({"webhook": "crm", "events": []}),
            json!({"webhook": "crm", "events": ["lead_disposed", "lead_disposed"]}),
            json!({"webhook": "crm", "send": ["everything"]}),
            json!({"webhook": "crm", "url": "https://crm.example.org"}),
        ] {
            assert_eq!(stored_notify(&section), None, "{section}");
        }
    }
}
