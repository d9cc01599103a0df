"""The look of every page: readable on a phone, in the dark, on paper and without colour.

A page's own style stands beside the page and comes after this one.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dbe3;
  --back: #f6f7f9; --card: #fff; --mark: #2458a6; --base: #7a8797; --good: #1d6b3f;
  --bad: #a12626; --open: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9ba7b6; --line: #343d4a;
  --back: #14181e; --card: #1c222b; --mark: #7fb0f5; --base: #8e9bab; --good: #6fce97;
  --bad: #f08a8a; --open: #e0b25a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.1rem; margin: 0 0 .5rem; font-weight: 600; color: var(--soft); }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: .9rem; margin: .4rem 0; }
p { margin: .4rem 0; max-width: 45rem; }
ul { padding-left: 1.2rem; margin: .4rem 0; } li { margin: .2rem 0; max-width: 45rem; }
.soft { color: var(--soft); }
.banner { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  border-left: .5rem solid var(--open); padding: 1rem 1.2rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem;
  border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: .85rem; }
tbody th { font-weight: 600; }
td.number { white-space: nowrap; }
details { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  margin: .4rem 0; }
summary { padding: .5rem .8rem; cursor: pointer; overflow-wrap: anywhere; }
summary .marks { display: block; color: var(--soft); font-size: .85rem; }
.tag { border: 1px solid currentColor; border-radius: .3rem; padding: 0 .35rem; font-size: .8rem;
  font-weight: 700; margin-right: .4rem; }
.pair { display: grid; gap: .8rem; padding: 0 .8rem .8rem; }
@media (min-width: 50rem) { .pair { grid-template-columns: 1fr 1fr; }
  .pair .wide { grid-column: 1 / -1; } }
.pair > div { min-width: 0; }
pre { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: .3rem;
  background: var(--back); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 26rem;
  overflow-y: auto; font: .8rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
@media (max-width: 40rem) { body { font-size: 15px; } th, td { padding: .4rem .5rem; } }
@media print { body { background: #fff; } pre { max-height: none; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""
