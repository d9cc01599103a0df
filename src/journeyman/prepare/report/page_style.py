"""What the page of a dataset adds to the look of every page: pictures, levels, excerpts."""

STYLE = """
.banner { border-left-color: var(--good); } .banner.act { border-left-color: var(--open); }
.banner strong { font-size: 1.7rem; line-height: 1.2; display: block; }
.banner .soft:last-child { margin-bottom: 0; }
.hint { display: block; font-size: .85rem; overflow-wrap: anywhere; }
.wraps { overflow-wrap: anywhere; } .inset { margin: .4rem .8rem .8rem; }
ul.inset { padding-left: 1.2rem; }
.state { font-weight: 700; white-space: nowrap; }
.error { color: var(--bad); } .warning { color: var(--open); } .note { color: var(--soft); }
.good { color: var(--good); }
.picture { padding: .6rem; } .picture svg { display: block; width: 100%; max-width: 36rem; }
.patterns { position: absolute; }
.flow { padding: .6rem; display: grid; gap: 1rem; align-items: center; }
.flow svg { display: block; width: 100%; } .flow table { font-size: .9rem; }
.figures { display: grid; gap: .8rem; } figure { margin: 0; display: flex;
  flex-direction: column; } figure svg { margin-top: auto; }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; }
@media (min-width: 50rem) { .figures { grid-template-columns: 1fr 1fr; }
  .flow { grid-template-columns: 3fr 2fr; } }
svg text { font-size: 12px; fill: var(--ink); paint-order: stroke; stroke: var(--card);
  stroke-width: 3px; stroke-linejoin: round; }
svg .faint { fill: var(--soft); }
.back { fill: var(--card); }
pattern line { stroke: var(--mark); stroke-width: 2; } pattern circle { fill: var(--mark); }
.cross line { stroke: var(--bad); stroke-width: 1; }
.level line, .dots line { stroke: var(--base); } .level line { stroke: var(--bad); }
.bar { stroke: var(--mark); stroke-width: .6; vector-effect: non-scaling-stroke; }
.bar.read { fill: var(--base); stroke: var(--base); }
.bar.kept, .bar.train { fill: var(--mark); } .bar.masked, .bar.val { fill: url(#stripes); }
.bar.plain { fill: var(--base); stroke: var(--base); } .bar.test { fill: url(#dots); }
.bar.dropped { fill: url(#cross); stroke: var(--bad); }
.bar.quarantined { fill: url(#level); stroke: var(--bad); }
.bar.left { fill: var(--card); stroke: var(--base); }
.ribbon { fill: var(--base); opacity: .3; } .ribbon.kept { fill: var(--mark); }
.ribbon.masked { fill: url(#stripes); opacity: .25; } .ribbon.dropped, .ribbon.quarantined {
  fill: var(--bad); opacity: .18; }
svg .axis { stroke: var(--line); stroke-width: 2; }
svg .cap { stroke: var(--bad); stroke-dasharray: 3 2; }
.legend span { margin-right: 1rem; white-space: nowrap; }
.legend svg { width: 1.3rem; height: .8rem; vertical-align: -.05rem; }
.bars { min-width: 8rem; width: 40%; } .bars svg { display: block; width: 100%; height: .9rem;
  margin-top: .3rem; }
.pair.one { grid-template-columns: 1fr; } .pair h3 { margin-bottom: -.4rem; }
.pair > div > p { overflow-wrap: anywhere; font-size: .9rem; } .small { font-size: .85rem; }
.cut { display: inline-block; font-weight: 700; color: var(--bad); border: 1px dashed; padding:
  0 .3rem; border-radius: .2rem; margin-left: .2rem; }
del { color: var(--bad); } ins { color: var(--good); text-decoration: underline; }
.facts th { white-space: nowrap; } .facts tr:first-child > * { border-top: 0; }
.roles tbody th { overflow-wrap: break-word; max-width: 16rem; }
@media (max-width: 40rem) { svg text { font-size: 14px; }
  .bars { min-width: 4.5rem; width: auto; }
  .facts th { white-space: normal; }
  .facts tr, .terms tbody tr { display: block; padding: .3rem 0;
  border-top: 1px solid var(--line); } .terms thead { display: none; }
  .facts th, .facts td, .terms tbody th, .terms td { display: block; border: 0;
  padding: .1rem .6rem; } }
"""
