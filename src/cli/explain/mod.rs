//! `outdial explain`: why a lead is or is not called, and when it may be; or how many leads each gate holds. It asks the
//! very functions that the daemon asks before each call.

mod lead;
mod next;
mod picture;
mod summary;

use std::io::Write;

pub(super) use lead::holding_gate;

use super::desk::Desk;
use super::output::{Listing, Phones};
use super::{Outcome, names};
use picture::Picture;

/// Tell why a lead is or is not called, and when it may be.
///
/// Shows what every gate says of the lead, on what evidence, and the next instant at which it may be dialed. Without
/// `--phone`: how many due leads of the campaign each gate holds now.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The campaign.
    #[arg(long, value_name = "NAME")]
    campaign: String,
    /// The lead's number, with its country code.
    #[arg(long, value_name = "PHONE")]
    phone: Option<String>,
    #[command(flatten)]
    phones: Phones,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn run(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let phone = args.phone.as_deref().map(|phone| names::phone(phone, None)).transpose()?;
    let picture = Picture::read(desk, &args.campaign, desk.now).await?;
    match phone {
        Some(phone) => lead::explain(&picture, phone, args.phones, args.listing.output, desk, out).await,
        None => summary::explain(&picture, args.listing.output, desk, out).await,
    }
}
