//! Whom outputs may reach: addresses are judged after the name was resolved, and the connection goes to the judged address.
//!
//! | who decided on the host | may be reached |
//! | --- | --- |
//! | the file ([`Decided::ByFile`]) | every address but those of cloud metadata |
//! | a value of an event ([`Decided::ByEvent`]) | public addresses, and private ones in `egress: { allow: [10.1.0.0/16] }`; never cloud metadata |
//!
//! Metadata services hand credentials to whoever asks, so no configuration reaches them. An IPv4 address inside an IPv6 one
//! (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) is judged as the IPv4 address that is reached through it. Every address of a name is judged:
//! one that is refused refuses the name, so that no order of answers and no second look-up gets around it (L8).
//!
//! Never: resolves twice for one connection, opens one. Proven below and by `tests/connections.rs`.

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Addresses of one name that are judged and tried; a name with more is refused, for nobody has so many but an attacker.
pub const ADDRESSES_MAX: usize = 64;

/// Who decided on the host that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decided {
    /// It stands in the file.
    ByFile,
    /// A value of an event had a part in it.
    ByEvent,
}

/// Turns a name into addresses. A seam, so that a test can change its mind between two look-ups.
pub trait Resolve: Send + Sync {
    /// All addresses of the host. Addresses as texts, in whatever spelling the system takes, are hosts too.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// What the system says.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why a host has no address to connect to. `Display` is one line that stands after the host's name.
#[derive(Debug, thiserror::Error)]
pub enum NoAddress {
    /// The name has none.
    #[error("cannot be resolved: {0}")]
    Unknown(String),
    /// It has one that must not be reached.
    #[error("{0}")]
    Refused(Refused),
}

/// Why an address must not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A cloud's metadata service.
    #[error("is a cloud's metadata service, which no output may reach")]
    Metadata,
    /// Not a public address, and a value of the event decided on it.
    #[error("was chosen by the event and leads to {0}, which is not public; if that is meant, add `egress: {{ allow: [{0}] }}`")]
    Private(IpAddr),
    /// More addresses than [`ADDRESSES_MAX`].
    #[error("has more addresses than a host has")]
    TooMany,
}

/// Whom outputs may reach, and how names are resolved.
#[derive(Clone)]
pub struct Egress {
    allow: Arc<[IpNet]>,
    resolver: Arc<dyn Resolve>,
}

impl Default for Egress {
    /// Nothing private is allowed to values of events; the system resolves.
    fn default() -> Self {
        Egress::new([])
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Egress({:?})", self.allow)
    }
}

impl Egress {
    /// Values of events may reach these networks besides what is public; the system resolves.
    pub fn new(allow: impl Into<Arc<[IpNet]>>) -> Self {
        Egress { allow: allow.into(), resolver: Arc::new(SystemResolver) }
    }

    /// The same, with names resolved elsewhere.
    #[must_use]
    pub fn resolving_with(self, resolver: Arc<dyn Resolve>) -> Self {
        Egress { resolver, ..self }
    }

    /// The judged addresses of a host, in the resolver's order. Whoever connects uses these and asks no resolver again.
    ///
    /// # Errors
    /// The host has no address, or one that must not be reached.
    pub async fn addresses(&self, host: &str, port: u16, decided: Decided) -> Result<Vec<SocketAddr>, NoAddress> {
        if names_metadata(host) {
            return Err(NoAddress::Refused(Refused::Metadata));
        }
        let found = self.resolver.resolve(host, port).await.map_err(|cause| NoAddress::Unknown(cause.to_string()))?;
        if found.is_empty() {
            return Err(NoAddress::Unknown("it has no address".into()));
        }
        if found.len() > ADDRESSES_MAX {
            return Err(NoAddress::Refused(Refused::TooMany));
        }
        for address in &found {
            self.judge(address.ip(), decided).map_err(NoAddress::Refused)?;
        }
        Ok(found)
    }

    /// Whether an address may be reached.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, address: IpAddr, decided: Decided) -> Result<(), Refused> {
        let reached = reached(address);
        if is_metadata(address) || is_metadata(reached) {
            return Err(Refused::Metadata);
        }
        let allowed = || self.allow.iter().any(|network| network.contains(&address) || network.contains(&reached));
        if decided == Decided::ByFile || (is_public(address) && is_public(reached)) || allowed() {
            return Ok(());
        }
        Err(Refused::Private(reached))
    }
}

/// Whether a host as it is written is a cloud's metadata service: by name, or as an address in any spelling that systems take.
/// What a name leads to is not known here; [`Egress::addresses`] judges that.
pub fn names_metadata(host: &str) -> bool {
    const NAMES: [&str; 8] = [
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "metadata.packet.net",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // A zone (`fe80::1%eth0`) says by which interface, not whom.
    let bare = bare.split('%').next().unwrap_or(bare);
    let address = bare.parse().ok().or_else(|| old_spelling(bare).map(IpAddr::V4));
    NAMES.contains(&host.as_str()) || address.is_some_and(|address| is_metadata(address) || is_metadata(reached(address)))
}

/// An IPv4 address as `inet_aton` reads it: one to four numbers, each decimal, octal (`0…`) or hexadecimal (`0x…`), the last
/// one filling what is left.
fn old_spelling(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = vec![];
    for part in text.split('.') {
        let lower = part.to_ascii_lowercase();
        let number = match lower.strip_prefix("0x") {
            Some("") => 0,
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None if lower.len() > 1 && lower.starts_with('0') => u32::from_str_radix(&lower[1..], 8).ok()?,
            None => lower.parse().ok()?,
        };
        numbers.push(number);
    }
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|number| *number > 255) {
        return None;
    }
    let room = 8 * (4 - first.len() as u32);
    if room < 32 && *last >= 1 << room {
        return None;
    }
    let start = first.iter().fold(0u32, |sum, number| (sum << 8) | number);
    Some(Ipv4Addr::from(if room == 32 { *last } else { (start << room) | last }))
}

/// Who is reached at an address: an IPv4 address inside an IPv6 one where it has one.
fn reached(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let at = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (s0, s1, s2, s3, s4, s5) {
        // Itself, and nobody: no IPv4 address.
        (0, 0, 0, 0, 0, 0) if s6 == 0 && s7 <= 1 => None,
        // 6to4 (RFC 3056).
        (0x2002, ..) => at(s1, s2),
        // Teredo (RFC 4380): the client's address, inverted.
        (0x2001, 0, ..) => at(!s6, !s7),
        // Compatible and mapped (RFC 4291, section 2.5.5), translated (RFC 2765), NAT64 (RFC 6052) and its local prefix
        // (RFC 8215), ISATAP (RFC 5214).
        (0, 0, 0, 0, 0, 0 | 0xffff)
        | (0, 0, 0, 0, 0xffff, 0)
        | (0x64, 0xff9b, 0, 0, 0, 0)
        | (0x64, 0xff9b, 1, ..)
        | (_, _, _, _, 0 | 0x200, 0x5efe) => at(s6, s7),
        _ => None,
    }
}

/// The addresses at which clouds give credentials to their machines.
fn is_metadata(address: IpAddr) -> bool {
    /// Most clouds; Amazon's for containers (two); Tencent; Alibaba; Oracle; Azure's host.
    const V4: [[u8; 4]; 7] = [
        [169, 254, 169, 254],
        [169, 254, 170, 2],
        [169, 254, 170, 23],
        [169, 254, 0, 23],
        [100, 100, 100, 200],
        [192, 0, 0, 192],
        [168, 63, 129, 16],
    ];
    /// Amazon's two; Google; OpenStack.
    const V6: [[u16; 8]; 4] = [
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
        [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
    ];
    match address {
        IpAddr::V4(v4) => V4.contains(&v4.octets()),
        IpAddr::V6(v6) => V6.contains(&v6.segments()),
    }
}

/// Whether an address is one of the whole internet's (the IANA special-purpose registries, read strictly).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., ..)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 88, 99)
                    | (192, 168, _)
                    | (198, 18 | 19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            )
        }
        IpAddr::V6(v6) => match v6.segments() {
            // IETF protocols, Teredo among them; documentation.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
            // What carries an IPv4 address (the last two) is as public as that one, which is judged besides.
            [0x2000..=0x3fff, ..] | [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => true,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged(address: &str, decided: Decided) -> Result<(), Refused> {
        Egress::new(["10.1.0.0/16".parse().unwrap(), "fd12::/16".parse().unwrap()]).judge(address.parse().unwrap(), decided)
    }

    #[test]
    fn metadata_is_refused_in_every_spelling_whoever_asks() {
        for host in [
            "169.254.169.254",
            "169.254.169.254.",
            "[::ffff:169.254.169.254]",
            "::ffff:a9fe:a9fe",
            "::a9fe:a9fe",
            "::ffff:0:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378:8000:63bf:5601:5601",
            "fe80::5efe:a9fe:a9fe",
            "fe80::200:5efe:a9fe:a9fe",
            "2852039166",
            "0xa9fea9fe",
            "0xA9FEA9FE",
            "025177524776",
            "169.16689662",
            "169.254.43518",
            "0251.0376.0251.0376",
            "0251.254.0xa9.254",
            "0xa9.0xfe.0xa9.0xfe",
            "00000251.0376.0251.0376",
            "fd00:ec2::254",
            "fd00:0ec2:0:0::0254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "fe80::a9fe:a9fe%eth0",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "1684301000",
            "192.0.0.192",
            "0300.0.0.0300",
            "169.254.170.2",
            "169.254.170.23",
            "169.254.0.23",
            "168.63.129.16",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
            "metadata",
            "metadata.goog",
            "instance-data",
            "instance-data.ec2.internal",
            "metadata.tencentyun.com",
        ] {
            assert!(names_metadata(host), "{host}");
            if let Ok(address) = host.parse::<IpAddr>() {
                for decided in [Decided::ByFile, Decided::ByEvent] {
                    assert_eq!(
                        Egress::new(["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]).judge(address, decided),
                        Err(Refused::Metadata),
                        "{host}"
                    );
                }
            }
        }
        for host in [
            "metadata.example",
            "example.com",
            "169.254.169.253",
            "169.254.1",
            "1.2.3.4.5",
            "256.1.1.1",
            "0x",
            "08.1.1.1",
            "",
            ".",
            "a.b",
            "1..2",
        ] {
            assert!(!names_metadata(host), "{host}");
        }
    }

    #[test]
    fn the_file_may_name_what_is_private_and_an_event_may_not() {
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "10.2.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "2001:db8::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "2620:0:5efe::10.0.0.1",
            "2a00::5efe:10.0.0.1",
        ] {
            assert_eq!(judged(address, Decided::ByFile), Ok(()), "{address}");
            let event = judged(address, Decided::ByEvent);
            let carries = address == "2620:0:5efe::10.0.0.1"; // `5efe` elsewhere is no ISATAP
            assert_eq!(matches!(event, Err(Refused::Private(_))), !carries, "{address}: {event:?}");
        }
        for address in [
            "8.8.8.8",
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2a00:1450::1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(judged(address, Decided::ByEvent), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_the_file_allows_an_event_may_reach() {
        for address in ["10.1.0.1", "10.1.255.255", "::ffff:10.1.2.3", "fd12::5"] {
            assert_eq!(judged(address, Decided::ByEvent), Ok(()), "{address}");
        }
        let told = judged("::ffff:10.2.0.1", Decided::ByEvent).unwrap_err().to_string();
        assert!(told.contains("10.2.0.1") && told.contains("egress: { allow: [10.2.0.1] }"), "{told}");
    }

    struct Fixed(Vec<&'static str>);
    impl Resolve for Fixed {
        fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move { Ok(self.0.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()) })
        }
    }

    #[tokio::test]
    async fn one_refused_address_refuses_the_name() {
        for (found, decided, refused) in [
            (vec!["8.8.8.8", "169.254.169.254"], Decided::ByFile, true),
            (vec!["8.8.8.8", "10.0.0.1"], Decided::ByEvent, true),
            (vec!["8.8.8.8", "10.0.0.1"], Decided::ByFile, false),
            (vec!["8.8.8.8"; ADDRESSES_MAX + 1], Decided::ByFile, true),
        ] {
            let egress = Egress::default().resolving_with(Arc::new(Fixed(found.clone())));
            let told = egress.addresses("shop.example", 443, decided).await;
            assert_eq!(matches!(told, Err(NoAddress::Refused(_))), refused, "{found:?}: {told:?}");
        }
        let none = Egress::default().resolving_with(Arc::new(Fixed(vec![])));
        assert!(matches!(none.addresses("shop.example", 443, Decided::ByFile).await, Err(NoAddress::Unknown(_))));
    }

    proptest! {
        #[test]
        fn every_ipv4_address_is_judged_alike_in_every_ipv6_that_carries_it(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b] = [(bits >> 16) as u16, bits as u16];
            let plain = Egress::default().judge(v4.into(), Decided::ByEvent);
            for carrier in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, a, b),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(Egress::default().judge(carrier.into(), Decided::ByEvent), plain, "{}", carrier);
            }
        }

        #[test]
        fn old_spellings_are_read_as_the_system_reads_them(bits: u32, form in 0..5) {
            let [a, b, c, d] = bits.to_be_bytes();
            let text = match form {
                0 => bits.to_string(),
                1 => format!("0x{bits:x}"),
                2 => format!("0{a:o}.{b}.0x{c:x}.{d}"),
                3 => format!("{a}.{}", bits & 0x00ff_ffff),
                _ => format!("{a}.{b}.{}", bits & 0xffff),
            };
            prop_assert_eq!(old_spelling(&text), Some(Ipv4Addr::from(bits)));
            // The C library, by way of the standard one.
            let system = std::net::ToSocketAddrs::to_socket_addrs(&(text.as_str(), 1)).unwrap().next().unwrap();
            prop_assert_eq!(system.ip(), IpAddr::V4(Ipv4Addr::from(bits)));
        }

        #[test]
        fn no_host_is_a_panic(host in "\\PC{0,30}|[0-9a-fx.:%\\[\\]]{0,40}") {
            names_metadata(&host);
        }
    }
}
