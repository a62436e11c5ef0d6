//! Phone numbers: read once at the edge, international ever after, masked whenever they are printed.
//!
//! The numbering-plan library stays behind this file. A number is accepted when its country code exists and its length
//! is possible there. Patterns within a country are not checked: the bundled plans lag behind newly opened ranges, and
//! refusing a real number loses a lead for good, while a number that does not exist costs one refused request.

use std::fmt;
use std::str::FromStr;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, Region, ValidationError};

/// A number in international form (E.164): `+`, country code, national number; 7 to 15 digits.
///
/// 17 bytes, `Copy`. `Display` and `Debug` show the country code and the last two digits only; the whole number leaves
/// through [`e164`](Self::e164), for the wire and the database. It has no serde on purpose: nothing prints it by accident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber {
    /// ASCII, padded with zero bytes, so that comparing bytes compares the text.
    text: [u8; TEXT_MAX],
    length: u8,
}

/// Why a text is not a phone number we can dial. Never contains the number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing was written.
    #[error("no phone number")]
    Empty,
    /// Letters or signs that no phone number has.
    #[error("not a phone number: only digits, spaces, dashes, dots, slashes, parentheses and a leading + are read")]
    NotANumber,
    /// A number behind a switchboard.
    #[error("has an extension, which cannot be dialed: write the number without it")]
    Extension,
    /// National form without a country to read it in.
    #[error("no country code: write it as +<country><number>")]
    NoCountryCode,
    /// The digits after the `+` begin with no country's code.
    #[error("no country has this country code")]
    UnknownCountryCode,
    /// The country given beside the number does not exist.
    #[error("unknown country: write its two letters, such as DE or US")]
    UnknownCountry,
    /// Too few digits for its country; perhaps the area code is missing.
    #[error("too short")]
    TooShort,
    /// Too many digits for its country.
    #[error("too long")]
    TooLong,
    /// Between the shortest and the longest number of its country, but no number there has this length.
    #[error("no number of this country has this many digits")]
    Length,
    /// Read again it would be another number: a zero that leads to other areas was taken off, and another one follows.
    #[error("too many zeros in front: write it as +<country><number>")]
    LeadingZeros,
    /// Not in the form in which numbers are stored.
    #[error("not in stored form: + and 7 to 15 digits")]
    NotStored,
}

impl PhoneNumber {
    /// Reads a number written with its country code, as `+…` or `00…`.
    ///
    /// # Errors
    /// [`PhoneError`] says what is wrong, without the number.
    pub fn parse(text: &str) -> Result<Self, PhoneError> {
        Self::parse_in(text, None)
    }

    /// Reads a number as it is written in `country` (two ISO letters): national, with that country's prefix for calls
    /// abroad, or with `+`. Without a country this is [`parse`](Self::parse).
    ///
    /// # Errors
    /// [`PhoneError`] says what is wrong, without the number.
    pub fn parse_in(text: &str, country: Option<&str>) -> Result<Self, PhoneError> {
        let country = country.map(str::trim).filter(|letters| !letters.is_empty()).map(region).transpose()?;
        let Written { international, digits } = written(text)?;
        if international {
            return international_number(&digits);
        }
        // `00` leads abroad from most countries; where it does not, no national number begins with it either.
        let abroad = digits.strip_prefix("00");
        match (country, abroad) {
            (None, None) => Err(PhoneError::NoCountryCode),
            (None, Some(abroad)) => international_number(abroad),
            (Some(country), None) => number(&digits, Some(country)),
            (Some(country), Some(abroad)) => {
                number(&digits, Some(country)).or_else(|national| international_number(abroad).map_err(|_| national))
            }
        }
    }

    /// Takes a number from a row that [`e164`](Self::e164) once filled: checks the shape, not the numbering plan.
    ///
    /// # Errors
    /// [`PhoneError::NotStored`].
    pub fn from_stored(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError::NotStored)?;
        let plausible = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !plausible {
            return Err(PhoneError::NotStored);
        }
        let mut padded = [0; TEXT_MAX];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { text: padded, length: u8::try_from(text.len()).expect("at most 16 bytes") })
    }

    /// The whole number, for the wire and the database; never for a log.
    pub fn e164(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).expect("only ASCII was put in")
    }
}

/// ITU-T E.164 allows 15 digits.
const DIGITS_MAX: usize = 15;
/// The shortest subscriber numbers have four digits, behind a three-digit country code (Niue, Saint Helena). Shorter
/// ones are emergency and service numbers, which must never be dialed.
const DIGITS_MIN: usize = 7;
const TEXT_MAX: usize = DIGITS_MAX + 1;

/// What stands on the page: whether it began with `+`, and the digits.
struct Written {
    international: bool,
    digits: String,
}

fn written(text: &str) -> Result<Written, PhoneError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(PhoneError::Empty);
    }
    let mut international = false;
    let mut digits = String::with_capacity(TEXT_MAX);
    for (position, sign) in text.char_indices() {
        match sign {
            '0'..='9' => digits.push(sign),
            '+' if digits.is_empty() && !international => international = true,
            // Also the dashes and the hard space that come with a copy from a document.
            ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2014}' => {}
            'x' | 'X' | '#' | ',' | ';' if digits.len() >= DIGITS_MIN => return Err(PhoneError::Extension),
            'e' | 'E' if text[position..].get(..3).is_some_and(|word| word.eq_ignore_ascii_case("ext")) => {
                return Err(PhoneError::Extension);
            }
            _ => return Err(PhoneError::NotANumber),
        }
    }
    if digits.is_empty() {
        return Err(PhoneError::NotANumber);
    }
    Ok(Written { international, digits })
}

fn international_number(digits: &str) -> Result<PhoneNumber, PhoneError> {
    number(&format!("+{digits}"), None)
}

fn number(text: &str, region: Option<Region>) -> Result<PhoneNumber, PhoneError> {
    let parsed = PHONE_NUMBER_UTIL.parse(text, region).map_err(|error| match error {
        ParseError::InvalidCountryCode => PhoneError::UnknownCountryCode,
        ParseError::NotANumber(_) | ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooShort,
        ParseError::TooLongNsn => PhoneError::TooLong,
    })?;
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(&parsed) {
        Ok(NumberLengthType::IsPossible) => {}
        Ok(NumberLengthType::IsPossibleLocalOnly) | Err(ValidationError::TooShort) => return Err(PhoneError::TooShort),
        Err(ValidationError::TooLong) => return Err(PhoneError::TooLong),
        Err(ValidationError::InvalidLength) => return Err(PhoneError::Length),
        Err(ValidationError::InvalidCountryCode) => return Err(PhoneError::UnknownCountryCode),
    }
    let text = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164);
    let again = PHONE_NUMBER_UTIL.parse(&text, None);
    if again.is_ok_and(|again| PHONE_NUMBER_UTIL.format(&again, PhoneNumberFormat::E164) != text) {
        return Err(PhoneError::LeadingZeros);
    }
    let too = if text.len() > TEXT_MAX { PhoneError::TooLong } else { PhoneError::TooShort };
    PhoneNumber::from_stored(&text).map_err(|_| too)
}

fn region(letters: &str) -> Result<Region, PhoneError> {
    let region = Region::from_code(letters).map_err(|_| PhoneError::UnknownCountry)?;
    PHONE_NUMBER_UTIL.get_country_code_for_region(region).map(|_| region).ok_or(PhoneError::UnknownCountry)
}

/// Country codes have one digit (1 and 7), two (the list) or three. ITU-T E.164 Annex, list of 2016-12-15; codes
/// assigned since all have three.
fn country_code_length(digits: &str) -> usize {
    match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.e164();
        let country = 1 + country_code_length(&text[1..]);
        // Always five stars: the length would tell something too.
        f.pad(&format!("{}*****{}", &text[..country], &text[text.len() - 2..]))
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn reads(text: &str, e164: &str) {
        assert_eq!(PhoneNumber::parse(text).unwrap().e164(), e164);
    }

    #[track_caller]
    fn reads_in(country: &str, text: &str, e164: &str) {
        assert_eq!(PhoneNumber::parse_in(text, Some(country)).unwrap().e164(), e164);
    }

    #[track_caller]
    fn refuses(text: &str, error: PhoneError) {
        assert_eq!(PhoneNumber::parse(text), Err(error));
    }

    #[track_caller]
    fn refuses_in(country: &str, text: &str, error: PhoneError) {
        assert_eq!(PhoneNumber::parse_in(text, Some(country)), Err(error));
    }

    #[test]
    fn international_numbers_are_read_however_they_are_written() {
        reads("+49 30 1234567", "+49301234567");
        reads("0049 30 1234567", "+49301234567");
        reads(" +49 (0) 30 / 123-45.67 ", "+49301234567");
        reads("(+49) 30 1234567", "+49301234567");
        reads("+1 (212) 555-0123", "+12125550123");
        reads("+1\u{a0}212\u{2011}555\u{2013}0123", "+12125550123");
        reads("+39 06 1234567", "+39061234567");
        reads("+683 4000", "+6834000");
    }

    #[test]
    fn a_number_that_reads_differently_each_time_is_refused() {
        refuses_in("DE", "00091-0491", PhoneError::LeadingZeros);
        refuses("+49 00 910491", PhoneError::LeadingZeros);
    }

    #[test]
    fn numbers_nobody_assigned_are_read_as_long_as_their_length_is_possible() {
        reads("+1 555 123 4567", "+15551234567");
    }

    #[test]
    fn national_numbers_need_a_country() {
        reads_in("DE", "030 1234567", "+49301234567");
        reads_in("de", "(030) 1234567", "+49301234567");
        reads_in("US", "(212) 555-0123", "+12125550123");
        reads_in("US", "1 212 555 0123", "+12125550123");
        reads_in("GB", "020 7946 0123", "+442079460123");
        reads_in("IT", "06 1234567", "+39061234567");
        reads_in("US", "+49 30 1234567", "+49301234567");
        reads_in("US", "011 49 30 1234567", "+49301234567");
        reads_in("DE", "0044 20 7946 0123", "+442079460123");
        reads_in("US", "0044 20 7946 0123", "+442079460123");
        reads_in("AU", "0011 44 20 7946 0123", "+442079460123");
        reads_in("", "+49 30 1234567", "+49301234567");
        refuses("030 1234567", PhoneError::NoCountryCode);
        refuses("(212) 555-0123", PhoneError::NoCountryCode);
    }

    #[test]
    fn what_cannot_be_dialed_is_refused_with_a_reason() {
        refuses("", PhoneError::Empty);
        refuses("  ", PhoneError::Empty);
        refuses("n/a", PhoneError::NotANumber);
        refuses("-", PhoneError::NotANumber);
        refuses("+", PhoneError::NotANumber);
        refuses("+1-800-FLOWERS", PhoneError::NotANumber);
        refuses("+49+30 1234567", PhoneError::NotANumber);
        refuses("4.93012E+11", PhoneError::NotANumber);
        refuses("+1 212 555 0123 x45", PhoneError::Extension);
        refuses("+1 212 555 0123 ext. 45", PhoneError::Extension);
        refuses("+1 212 555 0123;ext=45", PhoneError::Extension);
        refuses("+1 212 555 0123 #45", PhoneError::Extension);
        refuses("+49 1", PhoneError::TooShort);
        refuses("+1 555 0123", PhoneError::TooShort);
        refuses("+1 212 555 01234", PhoneError::TooLong);
        refuses("+49 30 1234567 1234567 1234567", PhoneError::TooLong);
        refuses("+999 123 456 789", PhoneError::UnknownCountryCode);
        refuses("+0 123 456 789", PhoneError::UnknownCountryCode);
        refuses_in("US", "555-0123", PhoneError::TooShort);
        refuses_in("XX", "030 1234567", PhoneError::UnknownCountry);
        refuses_in("Germany", "030 1234567", PhoneError::UnknownCountry);
    }

    #[test]
    fn emergency_numbers_are_never_phone_numbers() {
        for (country, number) in [("DE", "110"), ("DE", "112"), ("US", "911"), ("GB", "999"), ("AU", "000")] {
            assert!(PhoneNumber::parse_in(number, Some(country)).is_err(), "{country} {number}");
        }
        for number in ["+49112", "+1911", "+44999", "+6834"] {
            assert!(PhoneNumber::parse(number).is_err(), "{number}");
            assert!(PhoneNumber::from_stored(number).is_err(), "{number}");
        }
    }

    #[test]
    fn printing_masks() {
        let masked = |text: &str| PhoneNumber::parse(text).unwrap().to_string();
        assert_eq!(masked("+49 30 1234534"), "+49*****34");
        assert_eq!(masked("+1 212 555 0123"), "+1*****23");
        assert_eq!(masked("+353 1 234 5678"), "+353*****78");
        let number = PhoneNumber::parse("+49301234534").unwrap();
        assert_eq!(format!("{number:?} {:?}", Some(number)), "+49*****34 Some(+49*****34)");
    }

    #[test]
    fn country_codes_are_split_as_the_library_splits_them() {
        for code in PHONE_NUMBER_UTIL.get_supported_calling_codes() {
            assert_eq!(country_code_length(&format!("{code}1234567")), code.to_string().len(), "{code}");
        }
    }

    #[test]
    fn only_the_stored_form_is_taken_from_a_row() {
        assert_eq!(PhoneNumber::from_stored("+49301234567"), PhoneNumber::parse("+49301234567"));
        for text in
            ["", "+", "49301234567", "+4930 1234567", "+049301234567", "+123456", "+1234567890123456", "+49é01234567"]
        {
            assert_eq!(PhoneNumber::from_stored(text), Err(PhoneError::NotStored), "{text}");
        }
    }

    #[test]
    fn order_is_the_order_of_the_text() {
        let mut numbers = ["+4930123456789", "+49301234567", "+12125550123", "+493012345678"]
            .map(|text| PhoneNumber::from_stored(text).unwrap());
        numbers.sort_unstable();
        let mut texts = numbers.map(|number| number.e164().to_owned());
        let sorted = texts.clone();
        texts.sort_unstable();
        assert_eq!(sorted, texts);
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_stored_and_read_again(text in r"(\+|00)?[0-9 ()./-]{0,24}") {
            if let Ok(number) = PhoneNumber::parse(&text) {
                prop_assert_eq!(PhoneNumber::from_stored(number.e164()), Ok(number));
                prop_assert_eq!(PhoneNumber::parse(number.e164()), Ok(number));
            }
        }

        #[test]
        fn errors_never_show_a_digit_of_the_number(text in "\\PC{0,30}") {
            if let Err(error) = PhoneNumber::parse(&text) {
                prop_assert!(!error.to_string().contains(|sign: char| sign.is_ascii_digit()));
            }
        }
    }
}
