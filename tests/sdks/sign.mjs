// What the senders' own libraries sign: a list of requests on standard output, as `{ name, source, path, headers, body, expect }`. Node runs it
// in the folder that the libraries are installed in, with the moment of signing, in seconds, as its argument.
//
// Every sender has a valid request, one altered after it was signed, one signed with another secret, and, where it signs the moment, one that is too old and one from the future.
import { Signature as HubSpot } from '@hubspot/api-client/lib/src/utils/signature.js';
import { sign as github } from '@octokit/webhooks-methods';
import adyen from '@adyen/api-library';
import standard from 'standardwebhooks';
import Stripe from 'stripe';
import svix from 'svix';
import twilio from 'twilio';

const now = Number(process.argv.at(-1));
const OLD = now - 3600;
const COMING = now + 3600;
const WHSEC = 'whsec_' + Buffer.from('made-up-secret-made-up-secret').toString('base64');
const OTHER_WHSEC = 'whsec_' + Buffer.from('another-secret-another-secret').toString('base64');
const HEX = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
const ODD = 'Ünïcode ✓ \u2028 "quotes" \\ and 7.10';

const requests = [];
function add(name, source, expect, headers, body, path = `/${source}`) {
    requests.push({ name: `${source}: ${name}`, source, path, headers, body, expect });
}

// Signs by `sign(body, secret, seconds)`; with `moment` the moment is signed.
async function sender({ source, body, altered, secret, other, moment, sign, path, signedOther = 401 }) {
    const json = { 'content-type': 'application/json' };
    const of = async (text, key, at) => ({ ...json, ...(await sign(text, key, at)) });
    add('valid', source, 200, await of(body, secret, now), body, path);
    add('replayed', source, 'duplicate', await of(body, secret, now), body, path);
    add('altered', source, 401, await of(body, secret, now), altered ?? body.replace('7.10', '7.11'), path);
    add('a byte more', source, 401, await of(body, secret, now), body + '\n', path);
    add('another secret', source, signedOther, await of(body, other, now), body, path);
    if (moment) {
        add('old', source, 401, await of(body, secret, OLD), body, path);
        add('from the future', source, 401, await of(body, secret, COMING), body, path);
    }
}

const stripe = new Stripe('sk_test_made_up');
await sender({
    source: 'stripe',
    body: JSON.stringify({ id: 'evt_1', type: 'invoice.paid', note: ODD }),
    secret: 'whsec_made_up_stripe',
    other: 'whsec_another',
    moment: true,
    sign: (payload, secret, timestamp) => ({ 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }) }),
});
for (const [source, Webhook, start] of [['svix', svix.Webhook, 'svix'], ['standard', standard.Webhook, 'webhook']]) {
    await sender({
        source,
        body: JSON.stringify({ type: 'order.paid', note: ODD }),
        secret: WHSEC,
        other: OTHER_WHSEC,
        moment: true,
        sign: (payload, secret, at) => ({
            [`${start}-id`]: `${source}-1`,
            [`${start}-timestamp`]: String(at),
            [`${start}-signature`]: new Webhook(secret).sign(`${source}-1`, new Date(at * 1000), payload),
        }),
    });
}
await sender({
    source: 'github',
    body: JSON.stringify({ action: 'opened', note: ODD }),
    secret: 'made-up-github',
    other: 'another',
    sign: async (payload, secret) => ({
        'x-github-event': 'issues',
        'x-github-delivery': 'd-1',
        'x-hub-signature-256': await github(secret, payload),
    }),
});

// Adyen signs each item's fields, and of its platform the body.
const hmac = new adyen.hmacValidator();
const item = (value) => ({
    pspReference: 'P-1', originalReference: '', merchantAccountCode: 'Shop:1', merchantReference: 'R\\1', eventCode: 'AUTHORISATION', success: 'true',
    amount: { value, currency: 'EUR' },
});
const notification = (value, key, signed = value) => {
    const one = item(value);
    return JSON.stringify({ notificationItems: [{ NotificationRequestItem: { ...one, additionalData: { hmacSignature: hmac.calculateHmac(item(signed), key) } } }] });
};
const json = { 'content-type': 'application/json' };
add('valid', 'adyen', 200, json, notification(710, HEX));
add('altered', 'adyen', 401, json, notification(711, HEX, 710));
add('another secret', 'adyen', 401, json, notification(710, HEX.replaceAll('00', '01')));
await sender({
    source: 'adyen-platform',
    body: JSON.stringify({ type: 'balancePlatform.transfer.created', note: ODD }),
    secret: HEX,
    other: HEX.replaceAll('00', '01'),
    sign: (payload, secret) => ({ hmacsignature: hmac.calculateHmac(payload, secret) }),
});

// Twilio signs the URL and the fields of a form, or the hash of another body in the URL.
const URL_OF_TWILIO = 'https://hooks.example.com/twilio';
const fields = { CallSid: 'CA1', From: '+14158675309', To: '+18005551212', Body: 'ü & = + %20 7.10' };
const form = (values) => new URLSearchParams(values).toString();
const signed = (token, url, values) => ({
    'content-type': 'application/x-www-form-urlencoded',
    'x-twilio-signature': twilio.getExpectedTwilioSignature(token, url, values),
});
add('valid', 'twilio', 200, signed('made-up-token', URL_OF_TWILIO, fields), form(fields));
add('with its port', 'twilio', 'duplicate', signed('made-up-token', 'https://hooks.example.com:443/twilio', fields), form(fields));
add('altered', 'twilio', 401, signed('made-up-token', URL_OF_TWILIO, fields), form({ ...fields, From: '+1' }));
add('another secret', 'twilio', 401, signed('another', URL_OF_TWILIO, fields), form(fields));
const text = JSON.stringify({ note: ODD });
const query = `bodySHA256=${twilio.getExpectedBodyHash(text)}`;
const inUrl = { ...json, 'x-twilio-signature': twilio.getExpectedTwilioSignature('made-up-token', `${URL_OF_TWILIO}?${query}`, {}) };
add('JSON', 'twilio', 200, inUrl, text, `/twilio?${query}`);
add('JSON, altered', 'twilio', 401, inUrl, text + ' ', `/twilio?${query}`);

// HubSpot's three versions.
for (const [source, version, header] of [['hubspot-v1', 'v1', 'x-hubspot-signature'], ['hubspot-v2', 'v2', 'x-hubspot-signature'], ['hubspot', 'v3', 'x-hubspot-signature-v3']]) {
    await sender({
        source,
        body: JSON.stringify({ subscriptionType: 'deal.creation', eventId: 1, note: ODD }),
        secret: 'made-up-hubspot',
        other: 'another',
        moment: version === 'v3',
        sign: (requestBody, clientSecret, at) => ({
            [header]: HubSpot.getSignature('POST', version, { clientSecret, requestBody, url: `https://hooks.example.com/${source}`, timestamp: at * 1000 }),
            'x-hubspot-request-timestamp': String(at * 1000),
        }),
    });
}

console.log(JSON.stringify(requests));
