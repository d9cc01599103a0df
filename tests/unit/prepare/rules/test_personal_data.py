"""Fault 49, persons: addresses and numbers that belong to somebody are noticed."""

import pytest

from journeyman.prepare.rules.personal_data import RULES, find_personal_data
from journeyman.records import Interaction


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+work@contoso.co.uk today", "e-mail"),
        ("call +49 30 901820 19", "telephone"),
        ("call (212) 736-5000.", "telephone"),
        ("tel: 212-736-5000", "telephone"),
        ("ssh deploy@host, then 93.184.216.34", "ip-address"),
        ("listen on [2a00:1450:4001:82a::200e]", "ip-address"),
        ("cat /home/jdoe/.ssh/config", "home-folder"),
        (r"C:\Users\JaneD\project", "home-folder"),
        ("/Users/jane/Library", "home-folder"),
    ],
)
def test_a_trace_of_a_person_is_found(text: str, kind: str) -> None:
    assert [trace.kind for trace in find_personal_data(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com and admin@mail.example.org",
        "git@localhost",
        "@pytest.mark.parametrize and @dataclass",
        "call 212-555-0143",
        "the date 2025-10-01, the time 01:16:01, build 20251001",
        "1234567890 and 1,000,000 rows",
        "127.0.0.1, 10.1.2.3, 192.168.0.7, 172.16.5.4, 203.0.113.9 and 0.0.0.0",
        "version 1.2.3.4, and 8.8.8.8 resolves it",
        "::1, fe80::1, 2001:db8::7 and std::vector<int>",
        "00:1B:44:11:3A:B7",
        "/home/user/app, /home/runner/work and C:\\Users\\Public",
        "GET /users/42/home",
        "float('3.1415926535')",
    ],
)
def test_examples_and_private_addresses_are_not_personal_data(text: str) -> None:
    assert find_personal_data(text) == []


def test_the_rule_counts_what_it_saw_by_kind() -> None:
    row = Interaction("a", 1, "mail a.b@contoso.com", "coder", "c@contoso.com", "success")
    assert RULES[0].find(row) == "2 `e-mail`"
