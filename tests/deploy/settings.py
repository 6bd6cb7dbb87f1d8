#!/usr/bin/env python3
"""The settings, read from the code's tables; with --write, put into docs/operations.md."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ["cli/src/settings/table.rs", "cli/src/settings/tls.rs", "cli/src/settings/jwks.rs",
          "cli/src/settings/telemetry.rs"]
DOCUMENT = ROOT / "docs/operations.md"
BEGIN = "<!-- settings: made by tests/deploy/settings.py --write -->\n"
END = "<!-- settings end -->\n"
ROW = re.compile(
    r'Setting::new\(\s*("[^"]+"|CONFIG),\s*"([^"]*)",\s*(Kind::\w+(?:\([^()]*\)|\s*\{[^}]*\})?),\s*"((?:[^"\\]|\\.)*)",?\s*\)'
    r"((?:\s*\.\w+\([^()]*\))*)", re.S)


def rows():
    found = []
    for table in TABLES:
        text = (ROOT / table).read_text()
        here = ROW.findall(text)
        # A row that is written another way must not be passed over.
        if len(here) != text.count("Setting::new("):
            sys.exit(f"{table}: {text.count('Setting::new(')} rows, of which {len(here)} are understood")
        names = dict(re.findall(r'const (\w+): &str = "([^"]+)"', text))
        for name, value, _, help_, calls in here:
            name = name.strip('"') if name != "CONFIG" else names["CONFIG"]
            group = re.search(r"\.of\(\s*(\w+)", calls)[1]
            default = re.search(r'\.default\("([^"]*)"\)', calls)
            found.append({
                "name": name, "value": value, "help": help_.replace("|", "\\|"),
                "group": names.get(group) or {"KEYS": "Keys and tokens"}[group],
                "default": default[1] if default else "",
                "repeatable": ".repeatable()" in calls, "flag": ".without_flag()" not in calls,
            })
    return found


def table():
    lines, groups = [], {}
    for row in rows():
        groups.setdefault(row["group"], []).append(row)
    for group, members in groups.items():
        lines += [f"\n**{group}**\n", "| setting | default | what |", "|---|---|---|"]
        for row in members:
            variable = "MERCURIO_" + row["name"].upper().replace("-", "_")
            name = f"--{row['name']} {row['value']}".strip() if row["flag"] else variable
            default = f"`{row['default']}`" if row["default"] else ""
            more = "; repeatable" if row["repeatable"] else ""
            lines.append(f"| `{name}` | {default} | {row['help']}{more} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def parts():
    before, rest = DOCUMENT.read_text().split(BEGIN)
    now, after = rest.split(END)
    return before, now, after


if __name__ == "__main__":
    before, now, after = parts()
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(before + BEGIN + table() + END + after)
    elif now != table():
        sys.exit("docs/operations.md: the settings are not the code's: tests/deploy/settings.py --write")
