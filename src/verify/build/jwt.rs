//! From the parts of a token that a file names to its [`Jwt`].

use super::super::elsewhere::Address;
use super::super::jwt::Jwt;
use super::super::section::Spelled;
use super::Build;
use http::header::AUTHORIZATION;
use switchyard_api::At;

impl Build<'_> {
    pub(super) fn jwt(&mut self, spelled: &Spelled) -> Option<Jwt> {
        let section = &spelled.jwt.as_ref()?.value;
        let header = spelled.header.as_ref().map_or(Some(AUTHORIZATION), |header| self.header(header));
        let keys = Address::of_file(&section.keys.value);
        if keys.is_none() {
            let title = "this is not the address of a set of keys".to_owned();
            self.error("bad-keys-url", section.keys.span, title, "cannot be fetched").help =
                Some("write `https://HOST/PATH`, as the issuer's `jwks_uri` says".into());
        }
        let mut named = |claim: &At<String>, what: &str| {
            if claim.value.trim().is_empty() {
                self.error("empty-claim", claim.span, format!("`{what}` is empty: any token would do"), "nothing in here").help =
                    Some("write what the tokens of this sender hold".into());
                return None;
            }
            Some(claim.value.as_str().into())
        };
        let (issuer, audience) = (named(&section.issuer, "issuer"), named(&section.audience, "audience"));
        Some(Jwt { header: header?, keys: keys?, issuer: issuer?, audience: audience? })
    }
}
