//! What stands beside a preset goes before the preset's parts.

use super::super::section::{Spelled, TimestampSection};
use switchyard_api::At;

/// The parts of `above`, and where it has none those of `below`.
pub(super) fn over(above: Spelled, below: &Spelled) -> Spelled {
    let below = below.clone();
    let timestamp = match (above.timestamp, below.timestamp) {
        (Some(At { span, value: above }), Some(At { value: below, .. })) => {
            let moved = above.header.is_some() || above.element.is_some() || above.json.is_some();
            let from = if moved { &above } else { &below };
            let (header, element, json) = (from.header.clone(), from.element.clone(), from.json.clone());
            let unit = above.unit.or(below.unit);
            Some(At { span, value: TimestampSection { header, element, json, unit, tolerance: above.tolerance.or(below.tolerance) } })
        }
        (above, below) => above.or(below),
    };
    Spelled {
        preset: above.preset,
        hmac: above.hmac.or(below.hmac),
        hash: above.hash.or(below.hash),
        public: above.public.or(below.public),
        header: above.header.or(below.header),
        json: above.json.or(below.json),
        items: above.items.or(below.items),
        encoding: above.encoding.or(below.encoding),
        prefix: above.prefix.or(below.prefix),
        separator: above.separator.or(below.separator),
        signs: above.signs.or(below.signs),
        key: above.key.or(below.key),
        timestamp,
        bearer: above.bearer.or(below.bearer),
        token: above.token.or(below.token),
        basic: above.basic.or(below.basic),
        mtls: above.mtls.or(below.mtls),
        certificate: above.certificate.or(below.certificate),
        secret_at: above.secret_at.or(below.secret_at),
        jwt: above.jwt.or(below.jwt),
        query: above.query.or(below.query),
        allow: above.allow.or(below.allow),
    }
}
