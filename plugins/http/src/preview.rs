//! A request for people to read: made as the one that is sent, and then without its secrets.
//!
//! Whatever proves us is `***` (the file's `auth`, a row's credentials, signatures), wherever it stands; so is what an address brings along behind
//! its host, which of a chat's webhook is all that protects it.

use http::Uri;
use http::header::CONTENT_ENCODING;
use switchyard_api::http::Url;
use switchyard_api::preview::HIDDEN;
use switchyard_api::{Parcel, Preview};

use crate::output::HttpOutput;

/// A signature is as good as what it signs, for as long as it is believed.
const SIGNATURE: &str = "webhook-signature";

impl HttpOutput {
    /// The request of a delivery that goes alone.
    ///
    /// # Errors
    /// Why it would not be sent; one line without secrets.
    pub fn preview(mut self, parcel: &Parcel) -> Result<Preview, String> {
        // Compressed nobody can read it.
        let gzip = std::mem::take(&mut self.draft.gzip);
        let mut item = self.draft.item(parcel, 0).map_err(|why| why.to_string())?;
        let mut request = self.draft.request(std::slice::from_mut(&mut item)).map_err(|why| why.to_string())?;
        self.credentials.veil(&mut request)?;
        let masked = |bytes: &[u8]| self.rules.masked(bytes).into_owned();
        let shown = |name: &str, value: &[u8]| if name == SIGNATURE { HIDDEN.to_owned() } else { masked(value) };
        let mut headers: Vec<(String, String)> =
            request.headers().iter().map(|(name, value)| (name.to_string(), shown(name.as_str(), value.as_bytes()))).collect();
        let body = switchyard_api::http::body_of(&request);
        if gzip && !body.is_empty() {
            headers.push((CONTENT_ENCODING.to_string(), "gzip".to_owned()));
        }
        let body = match String::from_utf8_lossy(&body) {
            text if text == masked(&body) => body.clone(),
            _ => masked(&body).into_bytes().into(),
        };
        let url = masked(address(&self.draft.url, request.uri()).as_bytes());
        Ok(Preview { method: request.method().to_string(), url, properties: vec![], headers, body })
    }
}

/// Scheme and host; what the file's address has behind them is hidden, what the delivery adds is not.
fn address(url: &Url, target: &Uri) -> String {
    let base = url.path().trim_end_matches('/');
    let path = match target.path().strip_prefix(base) {
        Some(rest) if !base.is_empty() => format!("/{HIDDEN}{rest}"),
        Some(rest) => rest.to_owned(),
        None => format!("/{HIDDEN}"),
    };
    let query = match (target.query(), url.query()) {
        (None, _) => String::new(),
        (Some(query), Some(own)) => format!("?{HIDDEN}{}", query.strip_prefix(own).unwrap_or_default()),
        (Some(query), None) => format!("?{query}"),
    };
    format!("{url}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_and_what_the_delivery_adds() {
        let shown = |url: &str, path: Option<&str>, parameters: &[(&str, &str)]| {
            let url = Url::parse(url).unwrap();
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            address(&url, &url.target(path, &parameters).unwrap())
        };
        assert_eq!(shown("https://api.example", Some("orders/7"), &[]), "https://api.example/orders/7");
        assert_eq!(shown("https://api.example/", None, &[]), "https://api.example/");
        assert_eq!(shown("https://hooks.example/T0/made-up", None, &[]), "https://hooks.example/***");
        assert_eq!(shown("https://hooks.example/T0/made-up/", Some("7"), &[]), "https://hooks.example/***/7");
        assert_eq!(shown("https://a.example/v1?key=made-up", Some("7"), &[("wait", "true")]), "https://a.example/***/7?***&wait=true");
        assert_eq!(shown("https://a.example", None, &[("wait", "true")]), "https://a.example/?wait=true");
    }
}
