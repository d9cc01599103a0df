"""What the page of an evaluation adds to the look of every page: verdicts, criteria, rungs."""

STYLE = """
.banner.DEPLOY { border-left-color: var(--good); }
.banner.INVALID, .banner.ABORT { border-left-color: var(--bad); }
.banner strong { font-size: 1.8rem; letter-spacing: .03em; }
.state { font-weight: 700; white-space: nowrap; }
.PASS { color: var(--good); } .FAIL { color: var(--bad); } .INCONCLUSIVE { color: var(--open); }
svg { display: block; width: 14rem; height: 1.5rem; }
svg .axis { stroke: var(--line); stroke-width: 2; }
svg .tuned { stroke: var(--mark); fill: var(--mark); } svg .base { stroke: var(--base);
  fill: var(--card); }
svg .target { stroke: var(--ink); stroke-dasharray: 2 2; }
@media (max-width: 40rem) { svg { width: 8rem; }
  .criteria tr { display: block; padding: .4rem 0;
  border-top: 1px solid var(--line); } .criteria td, .criteria th { display: block; border: 0;
  padding: .1rem .6rem; } .criteria thead, .rungs thead { display: none; }
  .rungs tr { display: flex; flex-wrap: wrap; border-top: 1px solid var(--line); }
  .rungs td, .rungs th { border: 0; padding: .2rem .6rem; } .rungs th:empty { display: none; }
  .rungs th, .rungs td:nth-last-child(2), .rungs td:last-child { width: 100%; }
  .rungs svg { width: 100%; } }
"""
