//! A sample lead list in which everything happens: several zones, no zone, duplicates, numbers that are none, people who
//! must not be called.

use serde_json::{Map, Value};

use crate::adapter::postgres::command::NewLead;
use crate::domain::phone::PhoneNumber;

/// Zones of the sample, each with how its numbers begin and how many digits follow.
const PLACES: [(&str, &str, usize); 6] = [
    ("Europe/London", "+44207946", 4),
    ("Europe/Berlin", "+4930555", 5),
    ("Europe/Athens", "+3021055", 5),
    ("America/New_York", "+1212555", 4),
    ("America/Chicago", "+1312555", 4),
    ("America/Sao_Paulo", "+55115555", 4),
];

/// Leads, and numbers of theirs that must not be called.
pub(super) struct Sample {
    pub leads: Vec<NewLead>,
    pub do_not_call: Vec<PhoneNumber>,
}

pub(super) fn sample(count: u32) -> Sample {
    let mut leads: Vec<NewLead> = Vec::with_capacity(count as usize);
    let mut do_not_call = Vec::new();
    for index in 0..count {
        let (zone, start, digits) = PLACES[index as usize % PLACES.len()];
        let mut phone = format!("{start}{:0digits$}", index);
        let time_zone = (index % 50 != 7).then(|| zone.to_owned());
        match index % 40 {
            // The phone of an earlier lead, written another way.
            11 if index > 40 => phone = leads[index as usize - 6].phone.replacen('+', "00", 1),
            23 => phone = format!("0{index}"),
            31 => do_not_call.extend(PhoneNumber::parse(&phone)),
            _ => {}
        }
        let variables = Map::from_iter([("customer_name".to_owned(), Value::String(format!("Customer {index}")))]);
        leads.push(NewLead {
            phone,
            name: Some(format!("Customer {index}")),
            time_zone,
            priority: if index % 10 == 0 { 1 } else { 5 },
            variables,
            ..NewLead::default()
        });
    }
    Sample { leads, do_not_call }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_sample_holds_what_the_demonstration_shows() {
        let sample = sample(600);
        let mut phones: BTreeMap<PhoneNumber, u32> = BTreeMap::new();
        let mut bad = 0;
        for lead in &sample.leads {
            match PhoneNumber::parse(&lead.phone) {
                Ok(phone) => *phones.entry(phone).or_default() += 1,
                Err(_) => bad += 1,
            }
        }
        let twice = phones.values().filter(|count| **count > 1).count();
        assert!(bad >= 10 && twice >= 10 && sample.do_not_call.len() >= 10, "{bad} bad, {twice} twice");
        assert!(phones.values().all(|count| *count <= 2));
    }
}
