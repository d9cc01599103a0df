"""Fault 49: a planted key stands in no dataset, and a placeholder raises no alarm."""

from itertools import pairwise

import pytest

from journeyman.prepare.rules.secrets import RULES, find_secrets, redacted
from journeyman.records import Interaction

# Made up character by character; split so that no scanner takes this file for a leak.
A36 = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5"
KEY = "-----BEGIN " + "RSA PRIVATE KEY-----"
KEY_END = "-----END " + "RSA PRIVATE KEY-----"
REAL = {
    "aws-key-id": "AKIA" + "QY7R2KDPM4TNZ6WC",
    "aws-secret": 'aws_secret_access_key = "' + A36 + '/x+Q"',
    "github": "ghp_" + A36,
    "gitlab": "glpat-" + A36[:20],
    "slack": "xoxb-" + "349587203948-" + A36[:24],
    "slack-webhook": "https://hooks.slack.com/services/" + "T8G2K4MQ1/B7H3L5NR2/" + A36[:24],
    "google-api": "AIza" + A36[:35],
    "google-oauth": "GOCSPX-" + A36[:28],
    "stripe": "sk_live_" + A36[:24],
    "anthropic": "sk-ant-api03-" + A36,
    "openai": "sk-proj-" + A36 + A36,
    "hugging-face": "hf_" + "QwRtYpSdFgHjKlZxCvBnMqWeRtYuIoPaSd",
    "replicate": "r8_" + A36 + "k",
    "pypi": "pypi-AgE" + A36 + A36,
    "npm": "npm_" + A36,
    "sendgrid": "SG." + A36[:22] + "." + A36 + "Kd82hsQ",
    "twilio": "SK" + "8f3a91c7d2e64b05a9c8e7f1d3b2a604",
    "telegram": "7182930415:AA" + A36[:33],
    "jwt": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiI3MzkyIn0." + A36,
    "azure-storage": "AccountKey=" + A36 + A36 + A36[:14] + "==",
    "connection-string": "postgresql://svc:" + "t4Kq9vLm2" + "@db.corp.net/orders",
    "bearer": "Authorization: Bearer " + A36,
    "basic-auth": '"Authorization": "Basic ' + "c3ZjOnQ0S3E5dkxtMg==" + '"',
    "private-key": f"{KEY}\nMIIEpAIBAAKCAQEA7Qw3xT9kLmN2pR5sV8yB1dF4hJ6\n{KEY_END}",
    "assigned": 'db_password = "' + "t4Kq9vLm2" + '"',
}


@pytest.mark.parametrize("kind", REAL)
def test_a_real_looking_secret_is_found_by_its_kind(kind: str) -> None:
    text = f"Use this:\n{REAL[kind]}\nand restart."
    assert [secret.kind for secret in find_secrets(text)] == [kind]


@pytest.mark.parametrize("kind", REAL)
def test_a_redacted_text_names_the_kind_in_place_of_the_secret(kind: str) -> None:
    text = f"Use this:\n{REAL[kind]}\nand restart."
    clean, counts = redacted(text)
    assert counts == {kind: 1}
    assert f"[REDACTED:{kind}]" in clean
    assert clean.startswith("Use this:\n")
    assert clean.endswith("and restart.")
    assert find_secrets(clean) == []


@pytest.mark.parametrize(
    "text",
    [
        'api_key = "your-api-key"',
        'API_KEY="<your token here>"',
        "token = 'xxxxxxxxxxxxxxxx'",
        'password = "mypass"',
        'password = "password123"',
        'password: "changeme"',
        'client_secret = "example-secret-value"',
        "password = os.environ['DB_PASSWORD']",
        'password = get_password("orders-db")',
        'PASSWORD_FIELD = "password"',
        "API_KEY=$(cat key.txt)",
        "API_KEY=${API_KEY}",
        "AKIAIOSFODNN7EXAMPLE",
        "postgresql://user:password@localhost/db",
        "postgresql://user:${DB_PASSWORD}@db/orders",
        "Authorization: Bearer <token>",
        "Authorization: Bearer YOUR_ACCESS_TOKEN_GOES_IN_HERE",
        "ghp_" + "x" * 36,
        "sk-learn and sk-image are packages",
        "the commit 8f3a91c7d2e64b05a9c8e7f1d3b2a604aa17cc02",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "def check(password: str, secret_key: bytes) -> bool:",
        'key = "customer_id"',
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    ],
)
def test_a_placeholder_a_name_or_a_hash_is_not_a_secret(text: str) -> None:
    assert find_secrets(text) == []


def test_secrets_come_in_their_order_and_never_overlap() -> None:
    text = f"export GITHUB_TOKEN={REAL['github']}\n{REAL['slack']} {REAL['connection-string']}"
    found = find_secrets(text)
    assert [secret.kind for secret in found] == ["github", "slack", "connection-string"]
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_a_private_key_that_was_cut_off_is_still_one() -> None:
    text = f"{KEY}\nMIIEpAIBAAKCAQEA7Qw3xT9kLmN2pR5sV8yB1dF4hJ6kQ"
    assert redacted(text)[0] == "[REDACTED:private-key]"


def test_the_rule_counts_a_secret_of_task_and_answer_once() -> None:
    row = Interaction(
        "a", 1, f"Fix {REAL['github']}", "coder", f"Done: {REAL['github']}", "success"
    )
    assert RULES[0].find(row) == "1 `github`"


def test_the_rule_is_silent_about_a_clean_row() -> None:
    assert RULES[0].find(Interaction("a", 1, "Fix it", "coder", "Done.", "success")) is None
