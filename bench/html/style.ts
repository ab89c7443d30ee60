/** The page's colours and type, light and dark. The series' colours keep apart for the colour-blind (Okabe and Ito's, a little deeper). */
export const STYLE = `
:root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--ink:#1c2430;--soft:#667085;--rule:#e6e4df;--good:#0b7a53;--bad:#c2371f;
--s0:#0a6ebd;--s1:#d1600a;--s2:#00896b;--s3:#b5478f;--s4:#8a6d00;--s5:#3d9bd6;--s6:#5b5bd6;--s7:#6b7280}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2029;--ink:#e8eaee;--soft:#98a2b3;--rule:#2b3340;--good:#4cc38a;--bad:#ff7a66;
--s0:#5ab2f2;--s1:#f2944b;--s2:#3fc9a4;--s3:#e58cc4;--s4:#d9bc4a;--s5:#8fd0f7;--s6:#a3a3ff;--s7:#a4abb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 ui-sans-serif,system-ui,"Segoe UI",Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:30px;letter-spacing:-.02em;margin:0 0 6px}
h2{font-size:21px;letter-spacing:-.01em;margin:56px 0 2px;scroll-margin-top:16px}
h3{font-size:14px;margin:22px 0 8px}
.soft{color:var(--soft)}code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
nav{display:flex;flex-wrap:wrap;gap:6px 16px;margin:18px 0 0}a{color:inherit;text-underline-offset:3px;text-decoration-color:var(--rule)}
.warn{border-left:3px solid var(--bad);padding:6px 12px;margin:16px 0;background:var(--card)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:16px;margin:18px 0}
figure{margin:0;background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 12px 6px}
figcaption{font-weight:600;font-size:14px;padding:0 6px 6px}svg{display:block;width:100%;height:auto}
svg text{font-size:11px;fill:var(--soft);font-variant-numeric:tabular-nums}svg .name{fill:var(--c);font-weight:600}
.grid{stroke:var(--rule);fill:none}.grid.faint{opacity:.55}.line{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}
circle{fill:var(--card);stroke:var(--c);stroke-width:2}circle:hover{fill:var(--c)}.lead{stroke:var(--c);opacity:.35;fill:none}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px;background:var(--card)}
th,td{padding:4px 14px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:600;color:var(--soft)}th:first-child,td:first-child{text-align:left}
.targets td:last-child{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}pre{overflow-x:auto}
`;
