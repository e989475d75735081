//! From the parts of a token that a file names to its [`Jwt`].

use super::super::elsewhere::Address;
use super::super::jwt::{Jwt, Tokens, Wants};
use super::super::pick;
use super::super::presets::Preset;
use super::super::section::{Section, Spelled, TokensSection};
use super::Build;
use http::header::AUTHORIZATION;
use switchyard_api::At;

/// What is wrong was told: nothing is built.
pub(super) struct WasTold;

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
        let one = |claim: Box<str>| Box::from([claim]);
        Some(Jwt { header: header?, keys: keys?, wants: Wants { issuers: one(issuer?), audiences: one(audience?), party: None } })
    }

    /// The tokens that its sender puts into bodies, where the file says for whom they must be.
    pub(super) fn tokens(&mut self, preset: Option<&'static Preset>, section: &Section) -> Result<Option<Tokens>, WasTold> {
        let Some(At { span, value: TokensSection { audience, tenant } }) = &section.tokens else { return Ok(None) };
        let Some(known) = preset.and_then(|preset| preset.tokens.as_ref()) else {
            let title = format!("the sender of `{}` puts no tokens into its bodies", self.name);
            self.error("unused-key", *span, title, "not used").help =
                Some("take it away; a token in a header is proven with `verify: { jwt: { … } }`".into());
            return Err(WasTold);
        };
        let words = |words: &At<Vec<At<String>>>| words.value.iter().map(|word| word.value.trim().to_owned()).collect::<Vec<_>>();
        let (audiences, tenants) = (words(audience), words(tenant));
        for (list, at, what) in [(&audiences, audience.span, "audience"), (&tenants, tenant.span, "tenant")] {
            if list.is_empty() || list.iter().any(String::is_empty) {
                self.error("empty-claim", at, format!("`{what}` is empty: any token would do"), "nothing in here").help =
                    Some("write what the tokens of this sender hold".into());
                return Err(WasTold);
            }
        }
        let issuers = tenants.iter().flat_map(|tenant| known.issuers.iter().map(move |issuer| issuer.replace("{tenant}", tenant).into()));
        let wants = Wants {
            issuers: issuers.collect(),
            audiences: audiences.into_iter().map(String::into_boxed_str).collect(),
            party: Some(known.party.as_str().into()),
        };
        let steps = |path: &str| pick::steps(path).ok_or(WasTold);
        let (keys, at) = (Address::of_file(&known.keys).ok_or(WasTold)?, steps(&known.json)?);
        Ok(Some(Tokens { at, keys, wants, items: steps(&known.items)?, with: steps(&known.with)? }))
    }
}
