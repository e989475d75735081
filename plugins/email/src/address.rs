//! Mail addresses, read strictly: a dot-atom, `@`, a domain; the domain is written in ASCII (punycode).
//!
//! Holds L8: no quotes, comments, routes, spaces or control characters, so an address can only ever be an address, in a header
//! and in a command alike. An address that an event brings ([`Address::from_event`]) is read more strictly still.

use crate::header::{encoded_words, quoted};
use std::fmt;
use switchyard_api::printable::is_hostile;

/// RFC 5321, section 4.5.3.1.1.
const LOCAL_MAX: usize = 64;
/// RFC 5321, section 4.5.3.1.3 (a path of 256 with its angle brackets).
const ADDRESS_MAX: usize = 254;

/// One mail address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    local: String,
    domain: String,
}

/// What is wrong with an address. Never quotes it: it may be a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `@`.
    #[error("an address looks like `duty@example.com`")]
    NoAt,
    /// Nothing, or something that would need quotes, before the `@`.
    #[error("before the `@` stand letters, digits, inner dots and !#$%&'*+-/=?^_`{{|}}~")]
    Local,
    /// Not a domain.
    #[error("behind the `@` stands a domain, such as `example.com`")]
    Domain,
    /// Longer than mail allows.
    #[error("the address is too long: {LOCAL_MAX} bytes before the `@`, {ADDRESS_MAX} in all")]
    Long,
    /// `%`, `!`, a leading `-` and the like, from an event.
    #[error("an address from an event has none of !#$%&'*/=?^`{{|}}~ before its `@`, and does not begin with `-`")]
    Risky,
    /// Text behind `<…>`, or an angle that is not closed.
    #[error("a name and an address are written `Shop <shop@example.com>`")]
    Form,
}

impl Address {
    /// Reads `local@domain`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        if local.is_empty() || !local.split('.').all(is_atom) {
            return Err(AddressError::Local);
        }
        let domain = ascii_domain(domain).ok_or(AddressError::Domain)?;
        if local.len() > LOCAL_MAX || local.len() + domain.len() >= ADDRESS_MAX {
            return Err(AddressError::Long);
        }
        Ok(Address { local: local.to_owned(), domain })
    }

    /// Reads an address that came in with an event: nothing that a relay may take for a route (`a%b@`, `a!b@`), a file (`/etc/x@`),
    /// a command (`|x@`) or an option (`-x@`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_event(text: &str) -> Result<Self, AddressError> {
        let address = Address::parse(text)?;
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        if address.local.starts_with('-') || !address.local.chars().all(plain) {
            return Err(AddressError::Risky);
        }
        Ok(address)
    }

    /// The domain, in ASCII and lower case.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether it can be said to a server without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// A domain in ASCII and lower case; `None` if it is none.
pub fn ascii_domain(text: &str) -> Option<String> {
    let domain = idna::domain_to_ascii_strict(text).ok()?;
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    (domain.len() <= 253 && domain.split('.').all(label)).then_some(domain)
}

/// RFC 5322 atext, and beyond ASCII what RFC 6532 adds, without what cannot be seen.
fn is_atom(part: &str) -> bool {
    let atext = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        _ if c.is_ascii() => "!#$%&'*+-/=?^_`{|}~".contains(c),
        _ => c.is_alphanumeric() && !is_hostile(c),
    };
    !part.is_empty() && part.chars().all(atext)
}

/// An address and whose it is: `Shop <shop@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    name: String,
    /// The address.
    pub address: Address,
}

/// For people; headers need more ([`Mailbox::in_header`]).
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { self.address.fmt(f) } else { write!(f, "{} <{}>", self.name, self.address) }
    }
}

impl Mailbox {
    /// Reads `shop@example.com`, `<shop@example.com>` or `Shop <shop@example.com>`; the name may stand in double quotes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('<') else {
            return Ok(Mailbox { name: String::new(), address: Address::parse(text)? });
        };
        let address = rest.strip_suffix('>').ok_or(AddressError::Form)?;
        let name = name.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        if name.chars().any(|c| is_hostile(c) || matches!(c, '"' | '\\' | '>')) {
            return Err(AddressError::Form);
        }
        Ok(Mailbox { name: name.to_owned(), address: Address::parse(address)? })
    }

    /// As it stands in a header: an ASCII name in quotes, another one in encoded words (RFC 2047).
    pub fn in_header(&self) -> String {
        match self.name.as_str() {
            "" => self.address.to_string(),
            name if name.is_ascii() && !name.contains("=?") && name.len() <= 60 => format!("{} <{}>", quoted(name), self.address),
            name => format!("{} <{}>", encoded_words(name, 0), self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_read_and_its_domain_is_ascii() {
        let shown = |text: &str| Address::parse(text).map(|address| address.to_string());
        assert_eq!(shown("duty@Example.com").as_deref(), Ok("duty@example.com"));
        assert_eq!(shown("o'neil+x/y@example.com").as_deref(), Ok("o'neil+x/y@example.com"));
        assert_eq!(shown("duty@bücher.example").as_deref(), Ok("duty@xn--bcher-kva.example"));
        assert_eq!(shown("müller@example.com").as_deref(), Ok("müller@example.com"));
        assert!(!Address::parse("müller@example.com").unwrap().is_ascii());
        assert_eq!(shown("root@localhost").as_deref(), Ok("root@localhost"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, wrong) in [
            ("duty", AddressError::NoAt),
            ("@example.com", AddressError::Local),
            ("a b@example.com", AddressError::Local),
            ("a..b@example.com", AddressError::Local),
            (".a@example.com", AddressError::Local),
            ("\"a b\"@example.com", AddressError::Local),
            ("a@b@example.com", AddressError::Local),
            ("a,b@example.com", AddressError::Local),
            ("a\r\nRCPT TO:<x@y.example>@example.com", AddressError::Local),
            ("a\0@example.com", AddressError::Local),
            ("a\u{202e}@example.com", AddressError::Local),
            ("a@", AddressError::Domain),
            ("a@exa mple.com", AddressError::Domain),
            ("a@example..com", AddressError::Domain),
            ("a@example.com>", AddressError::Domain),
            ("a@-x.example", AddressError::Domain),
            ("a@example.com\r\n", AddressError::Domain),
            (&format!("{}@example.com", "a".repeat(65)), AddressError::Long),
        ] {
            assert_eq!(Address::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn what_a_relay_could_misread_does_not_come_from_an_event() {
        for text in ["-f@example.com", "a%evil.example@example.com", "evil.example!a@example.com", "/etc/x@example.com", "|sh@example.com"]
        {
            assert!(Address::parse(text).is_ok(), "{text}");
            assert_eq!(Address::from_event(text), Err(AddressError::Risky), "{text}");
        }
        assert!(Address::from_event("ann.x+shop-1_2@example.com").is_ok());
    }

    #[test]
    fn a_name_stands_in_quotes_or_in_encoded_words() {
        let header = |text: &str| Mailbox::parse(text).map(|mailbox| mailbox.in_header());
        assert_eq!(header("shop@example.com").as_deref(), Ok("shop@example.com"));
        assert_eq!(header("<shop@example.com>").as_deref(), Ok("shop@example.com"));
        assert_eq!(header("Shop, the <shop@example.com>").as_deref(), Ok("\"Shop, the\" <shop@example.com>"));
        assert_eq!(header("\"Shop\" <shop@example.com>").as_deref(), Ok("\"Shop\" <shop@example.com>"));
        assert_eq!(header("Bücher <shop@example.com>").as_deref(), Ok("=?UTF-8?B?QsO8Y2hlcg==?= <shop@example.com>"));
        for wrong in ["Shop <shop@example.com", "Shop <shop@example.com> x", "a\"b <shop@example.com>", "a\r\nBcc: b <shop@example.com>"] {
            assert_eq!(header(wrong), Err(AddressError::Form), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_reads_as_more_than_one_plain_address(text in "[a-z@.<>,;:\"\\\\ \r\n\u{0}ü%!-]{0,20}@[a-zü.\r\n <>-]{0,12}") {
            if let Ok(address) = Address::parse(&text) {
                let shown = address.to_string();
                prop_assert!(!shown.contains(|c: char| c.is_control() || c.is_whitespace() || "<>,;:\"\\".contains(c)));
                prop_assert_eq!(shown.matches('@').count(), 1);
                prop_assert_eq!(Address::parse(&shown), Ok(address));
            }
        }
    }
}
