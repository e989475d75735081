"""What Slack's own library signs, in the form that sign.mjs prints."""

import json
import sys

from slack_sdk.signature import Clock, SignatureVerifier


def request(name, expect, at, secret="made-up-slack", sent=None):
    body = json.dumps({"event_id": "Ev1", "event": {"type": "message"}, "note": "Ünïcode ✓ 7.10"}, ensure_ascii=False)
    signature = SignatureVerifier(secret, Clock()).generate_signature(timestamp=str(at), body=body)
    headers = {"content-type": "application/json", "x-slack-request-timestamp": str(at), "x-slack-signature": signature}
    return {"name": f"slack: {name}", "source": "slack", "path": "/slack", "headers": headers, "body": sent or body, "expect": expect}


now = int(sys.argv[1])
print(
    json.dumps(
        [
            request("valid", 200, now),
            request("replayed", "duplicate", now),
            request("altered", 401, now, sent='{"event_id":"Ev1"}'),
            request("another secret", 401, now, secret="another"),
            request("old", 401, now - 3600),
            request("from the future", 401, now + 3600),
        ]
    )
)
