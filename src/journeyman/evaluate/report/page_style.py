"""What the page of an evaluation adds to the look of every page: verdicts, criteria, rungs."""

STYLE = """
.banner.DEPLOY { border-left-color: var(--good); }
.banner.INVALID, .banner.ABORT { border-left-color: var(--bad); }
.banner strong { font-size: 1.8rem; letter-spacing: .03em; }
.state { font-weight: 700; white-space: nowrap; }
.PASS { color: var(--good); } .FAIL { color: var(--bad); } .INCONCLUSIVE { color: var(--open); }
svg.bar { display: block; width: 14rem; height: 1.5rem; }
svg.chart { display: block; width: 100%; max-width: 44rem; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 2.5; } svg .curve.base { stroke-dasharray: 7 4;
  fill: none; } svg .curve.tuned { fill: none; }
svg .mark.base { fill: none; stroke-width: 1.5; } svg .mark.tuned { fill-opacity: .8; }
.diff ins { text-decoration: none; color: var(--good); font-weight: 700; }
.diff del { text-decoration: none; color: var(--bad); }
svg .axis { stroke: var(--line); stroke-width: 2; }
svg .tuned { stroke: var(--mark); fill: var(--mark); } svg .base { stroke: var(--base);
  fill: var(--card); }
.marks, li, p, h3, .criteria td { overflow-wrap: anywhere; }
svg .target { stroke: var(--ink); stroke-dasharray: 2 2; }
@media (max-width: 40rem) { svg.bar { width: 8rem; }
  svg.chart text { font-size: 20px; }
  .criteria tr { display: block; padding: .4rem 0;
  border-top: 1px solid var(--line); } .criteria td, .criteria th { display: block; border: 0;
  padding: .1rem .6rem; } .criteria thead, .rungs thead { display: none; }
  .rungs tr { display: flex; flex-wrap: wrap; border-top: 1px solid var(--line); }
  .rungs td, .rungs th { border: 0; padding: .2rem .6rem; } .rungs th:empty { display: none; }
  .rungs th, .rungs td:nth-last-child(2), .rungs td:last-child { width: 100%; }
  .rungs svg { width: 100%; }
  .pairs tr { display: flex; flex-wrap: wrap; border-top: 1px solid var(--line); }
  .pairs td, .pairs th { border: 0; padding: .2rem .6rem; } .pairs thead { display: none; }
  .pairs td:last-child { width: 100%; } }
"""
